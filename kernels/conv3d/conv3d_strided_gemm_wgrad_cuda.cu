// Gradient of the weights of a convolution with kernel 3, stride 2 and padding 1, and that of the transposed
// convolution, as matrix products on tensor cores, for the deep levels: for one tap dw[f][c] = sum over v of
// fine[2 v - 1 + tap][f] coarse[v][c]. Coarse voxels are numbered without gaps (conv3d_strided_gemm_tile.h)
// and run, with the fine ones at the same places of each parity, through rings in shared memory, in which the
// taps are shifts: by a row, a voxel or both back. A block takes one kd. Voxels are cut into pieces; a second
// pass adds their partial sums in order.
#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"
#include "kernels/conv3d/conv3d_gemm_wgrad.cuh"
#include "kernels/conv3d/conv3d_strided_gemm_tile.h"

namespace vg::kernels::cuda {

namespace {

template <int FineChannels, int CoarseChannels>
struct Tile {
  static constexpr StridedGemmWgradTile shape{{}, FineChannels, CoarseChannels};
  static constexpr int fine_channels = FineChannels, coarse_channels = CoarseChannels,
                       fine_rings = shape.fine_rings(), halves = shape.halves(),
                       positions = shape.positions(), ring_bytes = shape.ring_bytes(),
                       ring_pitch = shape.ring_pitch(), shared_bytes = shape.shared_bytes();
  static constexpr int warps_f = FineChannels / 16, warps_c = CoarseChannels / 32;
  static constexpr int row_threads = StridedGemmTile::threads / positions;  ///< that copy a row
  /// The row that a thread copies. Eight neighbouring threads of two rows write to all banks if the rows
  /// differ in bit 2, by which the swizzle changes the half of a row.
  static __device__ __forceinline__ int copied_row(int thread) {
    const int row = thread / row_threads;
    return row_threads == 8 ? row : (row & ~5) | (row & 1) << 2 | (row >> 2 & 1);
  }
  /// A thread's copies of fine channels: all parities, or where there are threads enough those of one along
  /// H. Eight threads write to all banks at a time: those of odd rows begin with odd voxels.
  static constexpr int fine_copies = FineChannels / 2 / row_threads, fine_chunks = FineChannels / 8,
                       coarse_copies = CoarseChannels / 8 / row_threads;
  static __device__ __forceinline__ bool odd(int thread) {
    return fine_copies == 2 && thread % row_threads >= fine_chunks;
  }
  static_assert(warps_f * warps_c * halves == StridedGemmTile::warps &&
                (fine_copies == 4 || fine_copies == 2));
};
constexpr int threads = StridedGemmTile::threads, ring = StridedGemmWgradTile::ring,
              row_bytes = StridedGemmWgradTile::ring_row_bytes, taps = StridedGemmWgradTile::taps,
              fragments = StridedGemmWgradTile::fragments, ahead = StridedGemmWgradTile::ahead, turns = 2;
using Sums = float[taps][fragments][4];

// How far it is from a position to one some positions on: along W, H and D, in elements of both volumes, and
// what it is more where a row, a plane or a sample ends.
struct Steps {
  int w, h, d, fine, coarse;
  int fine_row, fine_plane, fine_sample, coarse_row, coarse_plane, coarse_sample;
};

struct Problem {
  View<const bfloat16> coarse, fine;
  float* partials;  ///< [piece][tap][coarse channel][fine channel]
  int stages, pieces;
  int fine_blocks, coarse_blocks;
  int count, width, height, depth, odd_width, odd_height, fine_depth, fine_stride_w, fine_stride_h;
  Steps stage;
  int turn_w, turn_h;  ///< steps of the positions that a warp multiplies at a time
};

// The voxel of a row of the stages, and where it lies in both volumes. A thread copies some of the row's
// parities of 8 fine channels, and 8 or twice 8 coarse channels.
template <class T>
class StageRow {
 public:
  __device__ __forceinline__ StageRow(const Problem& p, int fine_first, int coarse_first, int kd,
                                      int position, int first)
      : position_(position - first), count_(p.count - first) {
    const int thread = static_cast<int>(threadIdx.x) % T::row_threads,
              fine_channel = fine_first + thread % T::fine_chunks * 8,
              coarse_channel = coarse_first + thread * 8;
    fine_inside_ = fine_channel < p.fine.c;
#pragma unroll
    for (int i = 0; i < T::coarse_copies; ++i)
      coarse_inside_[i] = coarse_channel + i * 8 * T::row_threads < p.coarse.c;
    // Positions before the first one, of at most one stage, belong to samples before the first.
    const int volume = p.width * p.height * p.depth, samples = T::positions / volume + 1,
              from = position + samples * volume;
    w_ = from % p.width, h_ = from / p.width % p.height;
    const int d = from / p.width / p.height % p.depth, n = from / volume - samples;
    d_ = 2 * d + kd - 1, end_d_ = 2 * p.depth + kd - 1;
    const View<const bfloat16>&f = p.fine, &c = p.coarse;
    fine_ = static_cast<int>(n * f.stride_n + d_ * f.stride_d + 2 * h_ * f.stride_h + 2 * w_ * f.stride_w) +
            fine_channel;
    coarse_ = static_cast<int>(n * c.stride_n + d * c.stride_d + h_ * c.stride_h + w_ * c.stride_w) +
              coarse_channel;
    if constexpr (T::fine_copies == 2) {
      const bool odd = T::odd(thread);
      rows_ = odd ? p.odd_height : p.height;
      columns_[0] = odd ? p.odd_width : p.width, columns_[1] = odd ? p.width : p.odd_width;
      if (odd) fine_ += p.fine_stride_h + p.fine_stride_w;
      beside_ = odd ? -p.fine_stride_w : p.fine_stride_w;
    }
  }

  // Starts the copies to this thread's places in the rings and goes on to the next stage.
  __device__ __forceinline__ void copy(const Problem& p, uint32_t fine_to, uint32_t coarse_to) {
    const bool there = static_cast<unsigned>(position_) < static_cast<unsigned>(count_),
               plane =
                   there && fine_inside_ && static_cast<unsigned>(d_) < static_cast<unsigned>(p.fine_depth);
    const bfloat16* const fine = p.fine.data;
    if constexpr (T::fine_copies == 2) {
      const bool row = plane && h_ < rows_;
      ptx::copy_16_async(fine_to, fine + fine_, row && w_ < columns_[0]);
      ptx::copy_16_async(fine_to ^ 64, fine + (fine_ + beside_), row && w_ < columns_[1]);
    } else {
#pragma unroll
      for (int parity = 0; parity < 4; ++parity) {
        const int odd_h = parity / 2, odd_w = parity % 2;
        const bool inside = plane && (odd_h == 0 || h_ < p.odd_height) && (odd_w == 0 || w_ < p.odd_width);
        const uint32_t place = T::fine_channels == 64 ? fine_to + parity * T::ring_pitch
                                                      : (fine_to ^ odd_w << 6) + odd_h * T::ring_pitch;
        ptx::copy_16_async(place, fine + (fine_ + odd_h * p.fine_stride_h + odd_w * p.fine_stride_w), inside);
      }
    }
#pragma unroll
    for (int i = 0; i < T::coarse_copies; ++i) {
      const uint32_t place = T::row_threads == 4 ? coarse_to ^ i << 6 : coarse_to + i * T::ring_bytes;
      ptx::copy_16_async(place, p.coarse.data + coarse_ + i * 8 * T::row_threads, there && coarse_inside_[i]);
    }

    const Steps& step = p.stage;
    position_ += T::positions, w_ += step.w, h_ += step.h, d_ += 2 * step.d;
    fine_ += step.fine, coarse_ += step.coarse;
    if (w_ >= p.width) w_ -= p.width, ++h_, fine_ += step.fine_row, coarse_ += step.coarse_row;
    if (h_ >= p.height) h_ -= p.height, d_ += 2, fine_ += step.fine_plane, coarse_ += step.coarse_plane;
    if (d_ >= end_d_) d_ -= 2 * p.depth, fine_ += step.fine_sample, coarse_ += step.coarse_sample;
  }

 private:
  int position_, count_;                   // from the first one that is copied
  int w_, h_, d_, end_d_, fine_, coarse_;  // d_: of the fine plane
  // With two copies, of a voxel and the one beside it: the rows and columns in which they are.
  int rows_, columns_[2], beside_;
  bool fine_inside_, coarse_inside_[T::coarse_copies];
};

// A lane's voxel in 16 of them: where its neighbours lie in the rings, and whether there are such.
template <class T>
class Neighbours {
 public:
  // `chunk`: of the fine channels. `position`: of the lane's voxel, in row `row` of a stage.
  __device__ __forceinline__ Neighbours(const Problem& p, int row, int chunk, int position)
      : w_(position % p.width), h_(position / p.width % p.height) {
#pragma unroll
    for (int shift = 0; shift < 4; ++shift) {
      const int of_row = row - (shift / 2 * p.width + shift % 2);
      // Those before it are at odd places along W.
      const int half = T::fine_channels == 64 ? 0 : shift % 2 << 2;
      from_[shift] = static_cast<uint32_t>(of_row * row_bytes + ((chunk ^ half ^ of_row & 7) << 4));
    }
  }

  // Addresses by shift: of the voxel itself, of the one before, in the row above, both; where there is none,
  // of zeros behind the ring, in the same banks. `at`: the voxels' place in the rings. Goes `step` positions
  // on.
  __device__ __forceinline__ void next(uint32_t (&addresses)[4], const Problem& p, uint32_t rings,
                                       uint32_t at) {
    constexpr uint32_t voxel = 2 * T::ring_bytes - 1, zero = row_bytes - 1;
    const uint32_t before = w_ > 0 ? voxel : zero, above = h_ > 0 ? voxel : zero,
                   mask[4] = {voxel, before, above, before & above};
#pragma unroll
    for (int shift = 0; shift < 4; ++shift) {
      const uint32_t place = from_[shift] + at;
      addresses[shift] =
          rings + (place & mask[shift] & ~uint32_t{T::ring_bytes} | ~mask[shift] & T::ring_bytes);
    }
    w_ += p.turn_w, h_ += p.turn_h;
    if (w_ >= p.width) w_ -= p.width, ++h_;
    if (h_ >= p.height) h_ -= p.height;
  }

 private:
  int w_, h_;
  uint32_t from_[4];
};

// sums += the nine taps of 16 voxels.
template <class T>
__device__ __forceinline__ void multiply(Sums& sums, const uint32_t (&fine)[4], uint32_t coarse) {
  uint32_t b[fragments / 2][4];
#pragma unroll
  for (int pair = 0; pair < fragments / 2; ++pair)
    ptx::load_matrix_x4_transposed(b[pair], coarse ^ pair << 5);
#pragma unroll
  for (int tap = 0; tap < taps; ++tap) {
    const int kh = tap / 3, kw = tap % 3, odd_h = kh != 1, odd_w = kw != 1;
    const uint32_t from = fine[(kh == 0) * 2 + (kw == 0)];
    uint32_t a[4];
    if constexpr (T::fine_channels == 64) {
      ptx::load_matrix_x4_transposed(a, from + (odd_h * 2 + odd_w) * T::ring_pitch);
    } else {
      ptx::load_matrix_x4_transposed(a, (kw == 2 ? from ^ 64 : from) + odd_h * T::ring_pitch);
    }
#pragma unroll
    for (int j = 0; j < fragments; ++j)
      ptx::mma_m16n8k16(sums[tap][j], a, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
  }
}

// Adds the sums of the second half of the warps to those of the first.
__device__ __forceinline__ void add_halves(Sums& sums, float* shared, int half) {
  constexpr int of_half = threads / 2;
  float* const own = shared + threadIdx.x % of_half;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < StridedGemmWgradTile::sums; ++i) {
    if (half == 1) own[i * of_half] = sums[i / 16][i / 4 % 4][i % 4];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < StridedGemmWgradTile::sums; ++i) {
    if (half == 0) sums[i / 16][i / 4 % 4][i % 4] += own[i * of_half];
  }
}

template <class T>
__global__ void __launch_bounds__(threads, 1) strided_gemm_wgrad_kernel(Problem p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t rings = ptx::shared_address(shared_memory);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32,
            warp_f = warp % T::warps_f, warp_c = warp / T::warps_f % T::warps_c,
            half = warp / T::warps_f / T::warps_c;
  // Blocks that share their voxels run at the same time and find them in the second-level cache.
  int rest = static_cast<int>(blockIdx.x);
  const int kd = rest % 3;
  rest /= 3;
  const int fine_first = rest % p.fine_blocks * T::fine_channels;
  rest /= p.fine_blocks;
  const int coarse_first = rest % p.coarse_blocks * T::coarse_channels, piece = rest / p.coarse_blocks;
  const int begin = static_cast<int>(int64_t{p.stages} * piece / p.pieces),
            end = static_cast<int>(int64_t{p.stages} * (piece + 1) / p.pieces);
  if (thread < T::fine_rings * 8)
    ptx::store_shared_16(rings + thread / 8 * T::ring_pitch + T::ring_bytes + thread % 8 * 16, 0, 0, 0, 0);

  // Copies begin with the stage before, into which the taps reach back.
  const int copied_row = T::copied_row(thread), copied_by = thread % T::row_threads;
  StageRow<T> row(p, fine_first, coarse_first, kd, (begin - 1) * T::positions + copied_row,
                  max(begin * T::positions - p.width - 1, 0));
  const uint32_t fine_to = rings + T::odd(thread) * T::ring_pitch +
                           (gemm_offset(8, copied_row, copied_by % T::fine_chunks) ^ T::odd(thread) << 6),
                 coarse_to = rings + T::fine_rings * T::ring_pitch + gemm_offset(8, copied_row, copied_by);
  const auto copy = [&](int stage) {
    const uint32_t at = (stage + ring) % ring * (T::positions * row_bytes);
    if (stage < end) row.copy(p, fine_to + at, coarse_to + at);
    ptx::commit_copies();
  };
#pragma unroll
  for (int stage = -1; stage < ahead; ++stage) copy(begin + stage);

  // A lane's row in 16 voxels, see load_matrix_x4_transposed(): matrices (voxels 0-7; channels 0-7, 8-15),
  // (8-15; the same) for A, (channels 0-7; voxels 0-7, 8-15), (8-15; the same) for B.
  const int fine_row = half * 16 + lane / 16 * 8 + lane % 8,
            coarse_row = half * 16 + lane / 8 % 2 * 8 + lane % 8;
  Neighbours<T> neighbours(p, fine_row, 2 * warp_f + lane / 8 % 2, begin * T::positions + fine_row);
  const uint32_t coarse = rings + T::fine_rings * T::ring_pitch + warp_c / 2 * T::ring_bytes +
                          gemm_offset(8, coarse_row, warp_c % 2 * fragments + lane / 16);
  Sums sums = {};
#pragma unroll 1
  for (int stage = begin; stage < end; ++stage) {
    ptx::wait_copies<ahead - 1>();
    __syncthreads();  // this stage is there, and what the next copies replace is done with
    copy(stage + ahead);
#pragma unroll
    for (int turn = 0; turn < turns; ++turn) {
      const uint32_t at = stage % ring * (T::positions * row_bytes) + turn * T::halves * 16 * row_bytes;
      uint32_t fine[4];
      neighbours.next(fine, p, rings, at);
      multiply<T>(sums, fine, coarse + at);
    }
  }
  ptx::wait_copies<0>();
  if constexpr (T::halves > 1) {
    add_halves(sums, reinterpret_cast<float*>(shared_memory), half);
    if (half > 0) return;
  }
  const int64_t pairs = p.coarse.c * p.fine.c;
#pragma unroll
  for (int tap = 0; tap < taps; ++tap)
    store_wgrad_sums(p.partials + ((int64_t{piece} * 3 + kd) * taps + tap) * pairs, p.fine.c, p.coarse.c,
                     fine_first + warp_f * 16, coarse_first + warp_c * 32, sums[tap]);
}

Steps steps_of(const View<const bfloat16>& coarse, const View<const bfloat16>& fine, int64_t count) {
  const int64_t w = count % coarse.w, rows = count / coarse.w, h = rows % coarse.h, planes = rows / coarse.h,
                d = planes % coarse.d, n = planes / coarse.d;
  const auto offset = [&](const View<const bfloat16>& v, int64_t scale) {
    return static_cast<int>(scale * (w * v.stride_w + h * v.stride_h + d * v.stride_d) + n * v.stride_n);
  };
  const auto carry = [](int64_t next, int64_t extent, int64_t stride) {
    return static_cast<int>(next - extent * stride);
  };
  return {static_cast<int>(w),
          static_cast<int>(h),
          static_cast<int>(d),
          offset(fine, 2),
          offset(coarse, 1),
          carry(2 * fine.stride_h, coarse.w, 2 * fine.stride_w),
          carry(2 * fine.stride_d, coarse.h, 2 * fine.stride_h),
          carry(fine.stride_n, coarse.d, 2 * fine.stride_d),
          carry(coarse.stride_h, coarse.w, coarse.stride_w),
          carry(coarse.stride_d, coarse.h, coarse.stride_h),
          carry(coarse.stride_n, coarse.d, coarse.stride_d)};
}

template <int FineChannels, int CoarseChannels>
void launch(float* dweight, const View<const bfloat16>& coarse, const View<const bfloat16>& fine,
            int64_t pieces, const Exec& exec) {
  using T = Tile<FineChannels, CoarseChannels>;
  const auto divide_up = [](int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); };
  const int fine_blocks = divide_up(fine.c, FineChannels),
            coarse_blocks = divide_up(coarse.c, CoarseChannels), blocks = 3 * fine_blocks * coarse_blocks,
            stages = divide_up(coarse.voxels(), T::positions);
  // 144 KiB each way at an A100's 1.5 TB/s take a quarter of the time of the products of a stage (of 64
  // voxels and 32 channels as well), and the adding waits for the last block: twice that.
  if (pieces == 0) pieces = strided_gemm_pieces(blocks, stages, 32);
  const Steps turn = steps_of(coarse, fine, 16 * T::halves);
  const int64_t pairs = coarse.c * fine.c;
  WorkspaceScope scope(*exec.workspace);
  float* const partials = scope.allocate<float>(static_cast<size_t>(pieces * 27 * pairs));
  // More than 48 KiB must be asked for; strided_gemm_wgrad_applies() has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(strided_gemm_wgrad_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  T::shared_bytes));
  strided_gemm_wgrad_kernel<T><<<blocks_for(pieces * blocks, 1), threads, T::shared_bytes, stream_of(exec)>>>(
      {coarse, fine, partials, stages, static_cast<int>(pieces), fine_blocks, coarse_blocks,
       static_cast<int>(coarse.voxels()), static_cast<int>(coarse.w), static_cast<int>(coarse.h),
       static_cast<int>(coarse.d), static_cast<int>(fine.w / 2), static_cast<int>(fine.h / 2),
       static_cast<int>(fine.d), static_cast<int>(fine.stride_w), static_cast<int>(fine.stride_h),
       steps_of(coarse, fine, T::positions), turn.w, turn.h});
  check_launch();
  accumulate_taps(dweight, partials, pairs, 27, pieces, exec);
}

}  // namespace

void conv3d_backward_weight_strided_gemm(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                         const Exec& exec, int64_t pieces) {
  if (dy.elements() == 0) return;
  const StridedGemmWgradTile tile = strided_gemm_wgrad_tile(x.c, dy.c);
  if (tile.coarse_channels == 128) return launch<32, 128>(dweight, dy, x, pieces, exec);
  if (tile.fine_channels == 32) return launch<32, 64>(dweight, dy, x, pieces, exec);
  launch<64, 64>(dweight, dy, x, pieces, exec);
}

}  // namespace vg::kernels::cuda
