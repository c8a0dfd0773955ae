// Gradient of the weights of a convolution with kernel 3, stride 1 and padding 1 as matrix products on tensor
// cores, for the deep levels with their short rows: for one tap dw[i][o] = sum over v of x[v + tap][i]
// dy[v][o]. Voxels are numbered without gaps and run through rings in shared memory, in which the nine taps
// of a kd are shifts by rows and voxels; a block takes all nine, so that x and dy come from the second-level
// cache once for nine taps (conv3d_gemm_wgrad_cuda.cu: three). Voxels are cut into pieces; a second pass adds
// their partial sums in order.
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

using Tile = GemmPlaneWgradTile;
constexpr int channels = Tile::channels, positions = Tile::positions, threads = Tile::threads,
              row_bytes = Tile::row_bytes, stage_bytes = Tile::stage_bytes, x_ring_bytes = Tile::x_ring_bytes,
              dy_ring_bytes = Tile::dy_ring_bytes, taps = 9, fragments = 4, turns = positions / 16,
              warps_in = channels / 16;
static_assert(threads == positions * 8 && fragments * 8 * 2 == channels);
using Sums = float[taps][fragments][4];

// How far it is from a voxel to that one stage on: along W, H and D, in elements of both volumes, and what it
// is more where a row, a plane or a sample ends.
struct Steps {
  int w, h, d, x, dy;
  int x_row, x_plane, x_sample, dy_row, dy_plane, dy_sample;
};

struct Problem {
  View<const bfloat16> dy, x;
  float* partials;  ///< [piece][tap][output channel][input channel]
  int stages, pieces;
  int in_blocks, out_blocks;  ///< of 64 channels
  int count, width, height, depth;
  Steps stage;
  int turn_w, turn_h;  ///< steps of 16 voxels
};

// The voxel of a row of the rings, one row and one voxel ahead of the one that is multiplied: all taps lie
// behind it. A thread copies 8 channels of x, from the plane that kd takes, and of dy.
class StageRow {
 public:
  // `row` of the stages from `begin` to `end`, from `stage` on.
  __device__ __forceinline__ StageRow(const Problem& p, int in_first, int out_first, int kd, int stage,
                                      int row, int begin, int end)
      : kd_(kd - 1) {
    const int lead = p.width + 1, channel = static_cast<int>(threadIdx.x) % 8 * 8,
              x_channel = in_first + channel, dy_channel = out_first + channel,
              position = stage * positions + row + lead, first = begin * positions, last = end * positions;
    // Taps reach a row and a voxel before the first voxel and behind the last one.
    const int x_first = max(first - lead, 0);
    x_position_ = position - x_first, dy_position_ = position - first;
    x_count_ = x_channel < static_cast<int>(p.x.c) ? min(last + lead, p.count) - x_first : 0;
    dy_count_ = dy_channel < static_cast<int>(p.dy.c) ? min(last, p.count) - first : 0;
    // Positions before the first one, of at most two stages, belong to samples before the first.
    const int volume = p.width * p.height * p.depth, samples = 2 * positions / volume + 1,
              from = position + samples * volume, n = from / volume - samples;
    w_ = from % p.width, h_ = from / p.width % p.height, d_ = from / p.width / p.height % p.depth;
    const auto offset = [&](const View<const bfloat16>& v, int d) {
      return static_cast<int>(n * v.stride_n + d * v.stride_d + h_ * v.stride_h + w_ * v.stride_w);
    };
    x_ = offset(p.x, d_ + kd_) + x_channel, dy_ = offset(p.dy, d_) + dy_channel;
  }

  // Starts the copies to this thread's place in the rings and goes on to the next stage.
  __device__ __forceinline__ void copy(const Problem& p, uint32_t x_to, uint32_t dy_to) {
    const bool x_inside = static_cast<unsigned>(x_position_) < static_cast<unsigned>(x_count_) &&
                          static_cast<unsigned>(d_ + kd_) < static_cast<unsigned>(p.depth),
               dy_inside = static_cast<unsigned>(dy_position_) < static_cast<unsigned>(dy_count_);
    ptx::copy_16_async(x_to, p.x.data + x_, x_inside);
    ptx::copy_16_async(dy_to, p.dy.data + dy_, dy_inside);
    const Steps& step = p.stage;
    x_position_ += positions, dy_position_ += positions;
    w_ += step.w, h_ += step.h, d_ += step.d, x_ += step.x, dy_ += step.dy;
    if (w_ >= p.width) w_ -= p.width, ++h_, x_ += step.x_row, dy_ += step.dy_row;
    if (h_ >= p.height) h_ -= p.height, ++d_, x_ += step.x_plane, dy_ += step.dy_plane;
    if (d_ >= p.depth) d_ -= p.depth, x_ += step.x_sample, dy_ += step.dy_sample;
  }

 private:
  int x_position_, dy_position_, x_count_, dy_count_;  // from the first voxel that is copied
  int w_, h_, d_, kd_, x_, dy_;                        // kd_: less one
};

// A lane's voxel in 16 of them: where its neighbours lie in the ring, and whether there are such.
class Neighbours {
 public:
  // `chunk`: of the input channels. `row`: of the lane's voxel in 16. `position`: of that voxel.
  __device__ __forceinline__ Neighbours(const Problem& p, int row, int chunk, int position)
      : w_(position % p.width), h_(position / p.width % p.height) {
#pragma unroll
    for (int tap = 0; tap < taps; ++tap)
      from_[tap] =
          static_cast<uint32_t>(gemm_offset(8, row - (2 - tap / 3) * p.width - (2 - tap % 3), chunk));
  }

  // Places of the voxel's taps, `at` being that of 16 voxels in the ring: beyond dy's ring, or where there is
  // no voxel among the zeros before it, in the same banks. Goes on to the next 16.
  __device__ __forceinline__ void next(uint32_t (&places)[taps], const Problem& p, unsigned at) {
    constexpr uint32_t voxel = 2 * x_ring_bytes - 1, zero = row_bytes - 1;
    const uint32_t columns[3] = {w_ > 0 ? voxel : zero, voxel, w_ + 1 < p.width ? voxel : zero},
                   rows[3] = {h_ > 0 ? voxel : zero, voxel, h_ + 1 < p.height ? voxel : zero};
#pragma unroll
    for (int tap = 0; tap < taps; ++tap)
      places[tap] = (from_[tap] + at | x_ring_bytes) & (rows[tap / 3] & columns[tap % 3]);
    w_ += p.turn_w, h_ += p.turn_h;
    if (w_ >= p.width) w_ -= p.width, ++h_;
    if (h_ >= p.height) h_ -= p.height;
  }

 private:
  int w_, h_;
  uint32_t from_[taps];
};

// sums += the nine taps of 16 voxels.
__device__ __forceinline__ void multiply(Sums& sums, uint32_t shared, const uint32_t (&x)[taps],
                                         uint32_t dy) {
  uint32_t b[fragments / 2][4];
#pragma unroll
  for (int pair = 0; pair < fragments / 2; ++pair)
    ptx::load_matrix_x4_transposed(b[pair], shared + (dy ^ pair << 5));
#pragma unroll
  for (int tap = 0; tap < taps; ++tap) {
    uint32_t a[4];
    ptx::load_matrix_x4_transposed(a, shared + x[tap]);
#pragma unroll
    for (int j = 0; j < fragments; ++j)
      ptx::mma_m16n8k16(sums[tap][j], a, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
  }
}

__global__ void __launch_bounds__(threads, 1) gemm_plane_wgrad_kernel(Problem p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t shared = ptx::shared_address(shared_memory);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32,
            warp_in = warp % warps_in, warp_out = warp / warps_in;
  // Blocks that share their voxels run at the same time and find them in the second-level cache.
  int rest = static_cast<int>(blockIdx.x);
  const int kd = rest % 3;
  rest /= 3;
  const int in_first = rest % p.in_blocks * channels;
  rest /= p.in_blocks;
  const int out_first = rest % p.out_blocks * channels, piece = rest / p.out_blocks;
  const int begin = static_cast<int>(int64_t{p.stages} * piece / p.pieces),
            end = static_cast<int>(int64_t{p.stages} * (piece + 1) / p.pieces);
  if (thread < row_bytes / 16) ptx::store_shared_16(shared + thread * 16, 0, 0, 0, 0);

  // Copies begin with the stages before, into which the taps reach back.
  StageRow row(p, in_first, out_first, kd, begin - Tile::behind, thread / 8, begin, end);
  const uint32_t copy_to = shared + gemm_offset(8, thread / 8, thread % 8);
  const auto copy = [&](int stage) {
    const unsigned at = static_cast<unsigned>(stage) * stage_bytes;
    if (stage < end)
      row.copy(p, copy_to + x_ring_bytes + (at & x_ring_bytes - 1),
               copy_to + dy_ring_bytes + (at & dy_ring_bytes - 1));
    ptx::commit_copies();
  };
#pragma unroll
  for (int stage = -Tile::behind; stage < Tile::ahead; ++stage) copy(begin + stage);

  // A lane's row in 16 voxels, see load_matrix_x4_transposed(): matrices (voxels 0-7; channels 0-7, 8-15),
  // (8-15; the same) for A, (channels 0-7; voxels 0-7, 8-15), (8-15; the same) for B.
  const int x_row = lane / 16 * 8 + lane % 8, dy_row = lane / 8 % 2 * 8 + lane % 8;
  Neighbours neighbours(p, x_row, 2 * warp_in + lane / 8 % 2, begin * positions + x_row);
  const uint32_t dy_from =
      static_cast<uint32_t>(gemm_offset(8, dy_row - p.width - 1, warp_out * fragments + lane / 16));
  Sums sums = {};
#pragma unroll 1
  for (int stage = begin; stage < end; ++stage) {
    ptx::wait_copies<Tile::ahead - 1>();
    __syncthreads();  // this stage is there, and what the next copies replace is done with
    copy(stage + Tile::ahead);
#pragma unroll
    for (int turn = 0; turn < turns; ++turn) {
      const unsigned at = static_cast<unsigned>(stage) * stage_bytes + turn * 16 * row_bytes;
      uint32_t x[taps];
      neighbours.next(x, p, at);
      multiply(sums, shared, x, (dy_from + at & dy_ring_bytes - 1) + dy_ring_bytes);
    }
  }
  ptx::wait_copies<0>();
  const int64_t pairs = p.dy.c * p.x.c;
#pragma unroll
  for (int tap = 0; tap < taps; ++tap)
    store_wgrad_sums(p.partials + ((int64_t{piece} * 3 + kd) * taps + tap) * pairs, p.x.c, p.dy.c,
                     in_first + warp_in * 16, out_first + warp_out * fragments * 8, sums[tap]);
}

Steps steps_of(const View<const bfloat16>& dy, const View<const bfloat16>& x, int64_t count) {
  const int64_t w = count % dy.w, rows = count / dy.w, h = rows % dy.h, planes = rows / dy.h,
                d = planes % dy.d, n = planes / dy.d;
  const auto offset = [&](const View<const bfloat16>& v) {
    return static_cast<int>(w * v.stride_w + h * v.stride_h + d * v.stride_d + n * v.stride_n);
  };
  const auto carry = [](int64_t next, int64_t extent, int64_t stride) {
    return static_cast<int>(next - extent * stride);
  };
  return {static_cast<int>(w),
          static_cast<int>(h),
          static_cast<int>(d),
          offset(x),
          offset(dy),
          carry(x.stride_h, dy.w, x.stride_w),
          carry(x.stride_d, dy.h, x.stride_h),
          carry(x.stride_n, dy.d, x.stride_d),
          carry(dy.stride_h, dy.w, dy.stride_w),
          carry(dy.stride_d, dy.h, dy.stride_h),
          carry(dy.stride_n, dy.d, dy.stride_d)};
}

}  // namespace

void conv3d_backward_weight_gemm_plane(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                       const Exec& exec, int64_t pieces) {
  if (dy.elements() == 0) return;
  const auto divide_up = [](int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); };
  const int in_blocks = divide_up(x.c, channels), out_blocks = divide_up(dy.c, channels),
            blocks = 3 * in_blocks * out_blocks, stages = divide_up(dy.voxels(), positions);
  // Cut for the 108 multiprocessors of an A100; others that train have some more. The sums of a block, 144
  // KiB each way through the second-level cache, which holds those of all, take a fifth of a stage's time.
  if (pieces == 0) pieces = strided_gemm_pieces(blocks, stages, 12, 108);
  const Steps turn = steps_of(dy, x, 16);
  const int64_t pairs = dy.c * x.c;
  WorkspaceScope scope(*exec.workspace);
  float* const partials = scope.allocate<float>(static_cast<size_t>(pieces * 27 * pairs));
  // More than 48 KiB must be asked for; gemm_wgrad_applies() has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(gemm_plane_wgrad_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  Tile::shared_bytes));
  gemm_plane_wgrad_kernel<<<blocks_for(pieces * blocks, 1), threads, Tile::shared_bytes, stream_of(exec)>>>(
      {dy, x, partials, stages, static_cast<int>(pieces), in_blocks, out_blocks,
       static_cast<int>(dy.voxels()), static_cast<int>(dy.w), static_cast<int>(dy.h), static_cast<int>(dy.d),
       steps_of(dy, x, positions), turn.w, turn.h});
  check_launch();
  accumulate_taps(dweight, partials, pairs, 27, pieces, exec);
}

}  // namespace vg::kernels::cuda
