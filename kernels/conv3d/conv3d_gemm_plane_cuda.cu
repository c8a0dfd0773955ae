// The matrix product of conv3d_gemm_cuda.cu, kernel 3, for short rows, of which a column of zeros would waste
// a large part: positions are voxels without gaps. A block gathers a tile of the input for one kd and 32
// channels, from a row and a voxel before its own voxels to a row and a voxel behind them, and takes the nine
// taps (kh, kw) from it; a voxel without a neighbour there reads zeros instead (conv3d_strided_gemm_tile.h:
// the same for stride 2).
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/conv3d/conv3d_gemm.cuh"
#include "kernels/conv3d/conv3d_halo.cuh"
#include "kernels/conv3d/conv3d_strided_gemm_tile.h"

namespace vg::kernels::cuda {

namespace {

struct Tile : GemmFragmentWeights<GemmPlaneTile::columns> {
  static constexpr GemmPlaneTile shape{};
  static constexpr int threads = shape.threads, warps_c = shape.warps_c, columns = shape.columns,
                       positions = shape.positions, input_bytes = shape.input_bytes,
                       weight_bytes = shape.weight_bytes;
  static constexpr int planes = 3, kernel_size = 9;  ///< groups of steps a channel, steps of a group
  static constexpr int row_padding = 0, fragment_rows = 4, fragment_pitch = 16, fragments = 8;
  using Sums = float[fragment_rows][fragments][4];
};
constexpr int ahead = GemmPlaneTile::ahead, weight_ring = GemmPlaneTile::weight_ring,
              row_bytes = GemmPlaneTile::row_bytes;

// What a thread copies of the tiles: 16 bytes of every 64th row. Row r is the voxel first - width - 1 + r.
class TileRows {
 public:
  __device__ __forceinline__ TileRows(const View<const bfloat16>& in, int first)
      : row_(static_cast<int>(threadIdx.x) / 4), chunk_(static_cast<int>(threadIdx.x) % 4) {
    const int width = static_cast<int>(in.w), height = static_cast<int>(in.h), depth = static_cast<int>(in.d),
              count = static_cast<int>(in.voxels());
#pragma unroll
    for (int i = 0; i < turns; ++i) {
      const int row = row_ + i * row_step, position = first - width - 1 + row;
      offset_[i] = 0;
      if (position < 0 || position >= count || row >= GemmPlaneTile::positions + 2 * width + 2) continue;
      const int w = position % width, h = position / width % height, d = position / width / height % depth,
                n = position / width / height / depth;
      offset_[i] = static_cast<int>(n * in.stride_n + d * in.stride_d + h * in.stride_h + w * in.stride_w);
      inside_ |= ((d > 0 ? 1u : 0) | 2u | (d + 1 < depth ? 4u : 0)) << 3 * i;
    }
  }

  // Starts the copies of the voxels that kd takes, channels from 32 * `chunk` on.
  __device__ __forceinline__ void copy(uint32_t tile, const View<const bfloat16>& in, int kd,
                                       int chunk) const {
    const int channel = chunk * GemmTile::channels + chunk_ * 8,
              shift = channel + (kd - 1) * static_cast<int>(in.stride_d);
    const uint32_t inside = channel < in.c ? inside_ >> kd : 0, to = tile + gemm_offset(4, row_, chunk_);
#pragma unroll
    for (int i = 0; i < turns; ++i) {
      const bool there = (inside >> 3 * i & 1) != 0;
      ptx::copy_16_async(to + i * row_step * row_bytes, in.data + (there ? offset_[i] + shift : 0), there);
    }
  }

 private:
  static constexpr int row_step = Tile::threads / 4, turns = GemmPlaneTile::rows / row_step;
  static_assert(GemmPlaneTile::rows % row_step == 0 && 3 * turns <= 32);

  int row_, chunk_, offset_[turns];
  uint32_t inside_ = 0;  // by turn: is the voxel there that kd = 0, 1, 2 takes
};

// What a block copies, step by step: weights of the step's tap, and with a group's first tap its tile of the
// input. Stands before the first group at the start.
class Copies {
 public:
  __device__ __forceinline__ Copies(const GemmProduct& p, int first, int column_block, int group_begin,
                                    int groups)
      : rows_(p.in, first),
        packed_(p.packed + (int64_t{column_block} * Tile::planes * p.chunks + group_begin - 1) * group_words),
        left_(groups + 1),
        kd_(group_begin / p.chunks),
        chunk_(group_begin % p.chunks - 1) {}

  // `weights`: where the step's are to lie; `input`: where the group's tile does.
  __device__ __forceinline__ void copy(const GemmProduct& p, int tap, uint32_t input, uint32_t weights) {
    if (tap == 0) {
      --left_, packed_ += group_words;
      if (++chunk_ == p.chunks) chunk_ = 0, ++kd_;
    }
    if (left_ > 0) {
      if (tap == 0) rows_.copy(input, p.in, kd_, chunk_);
      copy_weights<Tile::threads, Tile::weight_bytes>(weights, packed_ + tap * (Tile::weight_bytes / 4));
    }
    ptx::commit_copies();
  }

 private:
  static constexpr int group_words = 9 * (Tile::weight_bytes / 4);

  TileRows rows_;
  const uint32_t* packed_;
  int left_, kd_, chunk_;
};

// Where a lane's voxels and their neighbours lie in a tile for ldmatrix, and whether there are such.
class Neighbours {
 public:
  // Of the voxels from `block_first` + `first` on.
  __device__ __forceinline__ Neighbours(int width, int height, int block_first, int first, uint32_t zeros)
      : width_(width), row_(first + static_cast<int>(threadIdx.x) % 16), zeros_(zeros) {
#pragma unroll
    for (int i = 0; i < Tile::fragment_rows; ++i) {
      const int position = block_first + row_ + i * 16, w = position % width, h = position / width % height;
      inside_ |= (uint32_t{h > 0} | 2u | uint32_t{h + 1 < height} << 2) << 3 * i |
                 (uint32_t{w > 0} | 2u | uint32_t{w + 1 < width} << 2) << (16 + 3 * i);
    }
  }

  // The fragments of a tap, both halves of the 32 channels.
  __device__ __forceinline__ void load(uint32_t (&a)[2][Tile::fragment_rows][4], uint32_t tile,
                                       int tap) const {
    const int kh = tap / 3, kw = tap % 3, chunk = static_cast<int>(threadIdx.x) % 32 / 16;
    // Sixteen rows on: the same swizzle.
    const uint32_t lane = gemm_offset(4, row_ + kh * width_ + kw, chunk),
                   zero = zeros_ + lane % GemmPlaneTile::zero_bytes,
                   inside = inside_ >> kh & inside_ >> (16 + kw);
#pragma unroll
    for (int i = 0; i < Tile::fragment_rows; ++i) {
      uint32_t from = lane + tile + i * 16 * row_bytes;
      if (tap != 4 && (inside >> 3 * i & 1) == 0) from = zero;  // the same banks
#pragma unroll
      for (int half = 0; half < 2; ++half) ptx::load_matrix_x4(a[half][i], from ^ half << 5);
    }
  }

 private:
  int width_, row_;
  uint32_t zeros_;
  uint32_t inside_ = 0;  // by fragment: rows above, own, below; from bit 16 on columns before, own, behind
};

__device__ __forceinline__ void multiply(Tile::Sums& sums, const Neighbours& neighbours, int tap,
                                         uint32_t input, uint32_t weights) {
  uint32_t a[2][Tile::fragment_rows][4];
  neighbours.load(a, input, tap);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int pair = 0; pair < Tile::fragments / 2; ++pair) {
      uint32_t b[4];
      ptx::load_shared_16(
          b, weights + (half * Tile::columns / 16 + pair / 2 * 2 * Tile::warps_c + pair % 2) * 512);
#pragma unroll
      for (int i = 0; i < Tile::fragment_rows; ++i) {
        ptx::mma_m16n8k16(sums[i][2 * pair], a[half][i], b[0], b[1]);
        ptx::mma_m16n8k16(sums[i][2 * pair + 1], a[half][i], b[2], b[3]);
      }
    }
  }
}

template <bool Moments>
__global__ void __launch_bounds__(Tile::threads, 1) gemm_plane_kernel(GemmProduct p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t inputs = ptx::shared_address(shared_memory),
                 weights = inputs + GemmPlaneTile::input_ring * Tile::input_bytes,
                 zeros = weights + weight_ring * Tile::weight_bytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp_c = thread / 32 % Tile::warps_c,
            warp_first = thread / 32 / Tile::warps_c * 64;
  if (thread < GemmPlaneTile::zero_bytes / 16) ptx::store_shared_16(zeros + thread * 16, 0, 0, 0, 0);
  const GemmPart part(p, static_cast<int>(blockIdx.x));
  const int first = part.position_block * GemmPlaneTile::positions;
  const int all_groups = Tile::planes * p.chunks,
            begin = static_cast<int>(all_groups * int64_t{part.piece} / p.pieces);
  const int groups = static_cast<int>(all_groups * int64_t{part.piece + 1} / p.pieces) - begin;

  Copies copies(p, first, part.column_block, begin, groups);
  static_assert(GemmPlaneTile::input_ring == 2 && 9 % weight_ring == 0);
  uint32_t input = inputs, next_input = inputs + Tile::input_bytes;
#pragma unroll
  for (int tap = 0; tap < ahead; ++tap) copies.copy(p, tap, input, weights + tap * Tile::weight_bytes);

  const Neighbours neighbours(static_cast<int>(p.out.w), static_cast<int>(p.out.h), first, warp_first, zeros);
  const uint32_t weights_lane = weights + warp_c * 1024 + lane * 16;
  Tile::Sums sums = {};
#pragma unroll 1
  for (int group = 0; group < groups; ++group) {
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
      ptx::wait_copies<ahead - 1>();
      __syncthreads();  // this step's copies are there, and what the next ones replace is done with
      const int next = (tap + ahead) % 9;
      copies.copy(p, next, next_input, weights + next % weight_ring * Tile::weight_bytes);
      multiply(sums, neighbours, tap, input, weights_lane + tap % weight_ring * Tile::weight_bytes);
    }
    const uint32_t place = input;
    input = next_input, next_input = place;
  }
  ptx::wait_copies<0>();
  gemm_finish<Tile, Moments>(p, warp_first, reinterpret_cast<float*>(shared_memory), sums);
}

}  // namespace

void gemm_plane(const GemmOperands& o, const Exec& exec) {
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t blocks = divide_up(o.out.voxels(), GemmPlaneTile::positions),
                groups = Tile::planes * divide_up(o.in.c, GemmTile::channels);
  // Cut for the 108 multiprocessors of an A100; others that train have some more. The sums of a block, 128
  // KiB each way through the second-level cache, which holds those of all, take a thirty-second part of a
  // group's time.
  const int64_t pieces =
      o.pieces != 0 ? o.pieces
                    : strided_gemm_pieces(blocks * divide_up(o.out.c, Tile::columns), groups, 2, 108);
  launch_product<Tile>(o, blocks, pieces, gemm_plane_kernel<false>, gemm_plane_kernel<true>, exec);
}

}  // namespace vg::kernels::cuda
