// The transpose of the convolution with kernel 3, stride 2 and padding 1 as matrix products on tensor cores,
// for the deep levels: its gradient with respect to the input, and the forward pass of the transposed
// convolution. conv3d_strided_gemm_tile.h tells how it is cut, conv3d_strided_transposed_cuda.cu which coarse
// voxels reach which fine ones by which tap.
#include "kernels/conv3d/conv3d_gemm.cuh"
#include "kernels/conv3d/conv3d_strided_gemm.cuh"

namespace vg::kernels::cuda {

namespace {

struct Tile : GemmFragmentWeights<StridedGemmTransposedTile::columns> {
  static constexpr StridedGemmTransposedTile shape{};
  static constexpr int threads = shape.threads, columns = shape.columns, positions = shape.positions,
                       rows = shape.rows, weight_bytes = shape.weight_bytes;
  static constexpr int planes = 3, kernel_size = 9;                     ///< for the order of weights
  static constexpr int parities = 4, fragment_rows = 2, fragments = 4;  ///< of H and W; of a warp
};
using Sums = float[Tile::parities][Tile::fragment_rows][Tile::fragments][4];
using Rows = NeighbourRows<1, Tile::fragment_rows>;

// What a thread copies of a tile of coarse voxels: 16 bytes of every 64th row.
class CoarseRows {
 public:
  __device__ __forceinline__ CoarseRows(const View<const bfloat16>& coarse, int first)
      : chunk_(static_cast<int>(threadIdx.x) % 4),
        to_(gemm_offset(4, static_cast<int>(threadIdx.x) / 4, chunk_)) {
    const int width = static_cast<int>(coarse.w), height = static_cast<int>(coarse.h),
              depth = static_cast<int>(coarse.d), count = static_cast<int>(coarse.voxels());
#pragma unroll
    for (int i = 0; i < turns; ++i) {
      const int row = static_cast<int>(threadIdx.x) / 4 + i * row_step, position = first + row;
      offset_[i] = 0;
      if (position >= count || row > Tile::positions + width) continue;
      const int w = position % width, h = position / width % height, d = position / width / height % depth,
                n = position / width / height / depth;
      offset_[i] = static_cast<int>(n * coarse.stride_n + d * coarse.stride_d + h * coarse.stride_h +
                                    w * coarse.stride_w);
      inside_ |= (d + 1 < depth ? 3 : 1) << 2 * i;
    }
  }

  // Starts the copies of the voxels, or of those one plane on, channels from 32 * `chunk` on.
  __device__ __forceinline__ void copy(uint32_t tile, const View<const bfloat16>& coarse, bool next_plane,
                                       int chunk) const {
    const int channel = chunk * StridedGemmTile::channels + chunk_ * 8,
              shift = channel + (next_plane ? static_cast<int>(coarse.stride_d) : 0);
    const uint32_t of_rows = channel < coarse.c ? inside_ >> (next_plane ? 1 : 0) : 0;
#pragma unroll
    for (int i = 0; i < turns; ++i) {
      const bool inside = (of_rows >> 2 * i & 1) != 0;
      ptx::copy_16_async(tile + to_ + i * row_step * StridedGemmTile::row_bytes,
                         coarse.data + (inside ? offset_[i] + shift : 0), inside);
    }
  }

 private:
  static constexpr int row_step = Tile::threads / 4, turns = Tile::rows / row_step;
  static_assert(Tile::rows % row_step == 0 && 2 * turns <= 32);

  int chunk_;
  uint32_t to_;
  int offset_[turns];
  uint32_t inside_ = 0;  // by turn: is the voxel there, and that of the next plane
};

// sums += the nine taps (kh, kw) of 32 channels.
__device__ __forceinline__ void multiply(Sums& sums, const Rows& rows, uint32_t tile, uint32_t weights) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t a[2][2][Tile::fragment_rows][4];
#pragma unroll
    for (int shift = 0; shift < 4; ++shift) {
#pragma unroll
      for (int i = 0; i < Tile::fragment_rows; ++i)
        rows.load(a[shift / 2][shift % 2][i], tile, i, half, shift / 2 != 0, shift % 2 != 0);
    }
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
      const int kh = tap / 3, kw = tap % 3, parity = (kh != 1) * 2 + (kw != 1);
      uint32_t b[Tile::fragments / 2][4];
#pragma unroll
      for (int pair = 0; pair < Tile::fragments / 2; ++pair)
        ptx::load_shared_16(b[pair],
                            weights + tap * Tile::weight_bytes + (half * Tile::fragments / 2 + pair) * 512);
#pragma unroll
      for (int i = 0; i < Tile::fragment_rows; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::fragments; ++j)
          ptx::mma_m16n8k16(sums[parity][i][j], a[kh == 0][kw == 0][i], b[j / 2][j % 2 * 2],
                            b[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
}

// Stores the fine voxels of one parity along D of the warp's coarse ones from position `first` on. A lane has
// 8 neighbouring channels of a voxel, four lanes its 32.
template <bool Moments, bool Add>
__device__ __forceinline__ void store_fine(LaneMoments<8>& moments, const GemmProduct& p, const Sums& sums,
                                           int first, int odd_d, int64_t channel) {
  const int lane = static_cast<int>(threadIdx.x) % 32, width = static_cast<int>(p.in.w),
            height = static_cast<int>(p.in.h), depth = static_cast<int>(p.in.d),
            count = static_cast<int>(p.in.voxels());
  const float* const bias = p.bias == nullptr ? nullptr : p.bias + channel;
#pragma unroll
  for (int i = 0; i < 2 * Tile::fragment_rows; ++i) {
    const int position = first + i * 8 + lane / 4;
    if (position >= count || channel >= p.out.c) continue;
    const int w = position % width, h = position / width % height, d = position / width / height % depth,
              n = position / width / height / depth;
#pragma unroll
    for (int parity = 0; parity < Tile::parities; ++parity) {
      const int fine_d = 2 * d + odd_d, fine_h = 2 * h + parity / 2, fine_w = 2 * w + parity % 2;
      if (fine_d >= p.out.d || fine_h >= p.out.h || fine_w >= p.out.w) continue;
      bfloat16* const to = p.out.at(n, fine_d, fine_h, fine_w) + channel;
      auto values = Add ? Lanes<8>::load(to) : Lanes<8>::all(0);
#pragma unroll
      for (int c = 0; c < 8; ++c) values[c] += sums[parity][i / 2][c / 2][i % 2 * 2 + c % 2];
      gemm_store_channels<Moments>(moments, to, values, bias);
    }
  }
}

// Blocks of odd planes, which have two kd to add, come first.
template <bool Moments, bool Add>
__global__ void __launch_bounds__(Tile::threads, 1) strided_gemm_transposed_kernel(GemmProduct p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t stages = ptx::shared_address(shared_memory),
                 zeros = stages + Tile::shape.stages * Tile::shape.stage_bytes;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  store_zeros(zeros);
  const int column_block = static_cast<int>(blockIdx.x) % p.column_blocks,
            block = static_cast<int>(blockIdx.x) / p.column_blocks, of_parity = p.position_blocks / 2,
            odd_d = block < of_parity ? 1 : 0, first = block % of_parity * Tile::positions;
  // Tap 1 leads from a plane to the even one, tap 2 to the odd one, and tap 0 from the next plane to it.
  const int steps = (1 + odd_d) * p.chunks;
  const CoarseRows coarse(p.in, first);
  const uint32_t* const packed =
      p.packed + int64_t{column_block} * 3 * p.chunks * (9 * Tile::weight_bytes / 4);
  const auto copy = [&](int step) {
    if (step >= steps) return;
    const uint32_t stage = stages + step % 2 * Tile::shape.stage_bytes;
    const bool next_plane = step >= p.chunks;
    const int chunk = next_plane ? step - p.chunks : step, kd = next_plane ? 0 : 1 + odd_d;
    coarse.copy(stage, p.in, next_plane, chunk);
    copy_weights<Tile::threads, 9 * Tile::weight_bytes>(
        stage + Tile::shape.plane_bytes, packed + (kd * p.chunks + chunk) * (9 * Tile::weight_bytes / 4));
    ptx::commit_copies();
  };
  copy(0);
  const Rows rows(static_cast<int>(p.in.w), static_cast<int>(p.in.h), first, warp * 32, zeros);
  Sums sums = {};
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    ptx::wait_copies<0>();
    __syncthreads();  // this stage is there, and the one before is done with
    copy(step + 1);
    const uint32_t stage = stages + step % 2 * Tile::shape.stage_bytes;
    multiply(sums, rows, stage, stage + Tile::shape.plane_bytes + lane * 16);
  }
  const int64_t first_channel = int64_t{column_block} * Tile::columns;
  LaneMoments<8> moments;
  store_fine<Moments, Add>(moments, p, sums, first + warp * 32, odd_d, first_channel + lane % 4 * 8);
  if constexpr (Moments) {
    float totals[2] = {};
    add_lanes(totals, moments);
    store_moments<Tile::threads / 32, 1>(p.moments + (block * p.out.c + first_channel) * 2,
                                         reinterpret_cast<float*>(shared_memory), totals,
                                         p.out.c - first_channel);
  }
}

template <bool Add>
void launch(const View<bfloat16>& out, const OutputStatistics* statistics, const View<const bfloat16>& in,
            const float* weight, const float* bias, const Exec& exec) {
  if (out.elements() == 0) return;
  const int64_t blocks = (in.voxels() + Tile::positions - 1) / Tile::positions;
  launch_product<Tile>({out, statistics, in, weight, {27, out.c * 27, false}, bias, 1}, 2 * blocks, 1,
                       strided_gemm_transposed_kernel<false, Add>, strided_gemm_transposed_kernel<true, Add>,
                       exec);
}

}  // namespace

void conv3d_backward_input_strided_gemm(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                        const float* bias, const Exec& exec,
                                        const OutputStatistics* statistics) {
  launch<false>(dx, statistics, dy, weight, bias, exec);
}

void conv3d_add_backward_input_strided_gemm(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                            const Exec& exec) {
  launch<true>(dx, nullptr, dy, weight, nullptr, exec);
}

}  // namespace vg::kernels::cuda
