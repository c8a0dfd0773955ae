// Deterministic reductions on CUDA: within a block, over a grid in two launches, and per channel of an
// activation. Partition and order depend on the problem alone; there are no atomics.
#pragma once

#include "kernels/common/launch.cuh"

namespace vg::kernels::cuda {

/// Lanes of a warp combined by `op` (associative up to rounding); every lane gets the same bits.
template <class T, class Op>
__device__ inline T warp_reduce(T value, Op op) {
  for (int distance = 16; distance > 0; distance /= 2)
    value = op(value, __shfl_xor_sync(0xFFFFFFFFu, value, distance));
  return value;
}

/// Threads of a block combined by `op`; every thread gets the result. All threads of the block must call it;
/// blockDim.x is a multiple of 32, at most 1024. May be called again at once.
template <class T, class Op>
__device__ inline T block_reduce(T value, Op op) {
  __shared__ T of_warp[32];
  const int warps = static_cast<int>(blockDim.x) / 32, thread = static_cast<int>(threadIdx.x);
  value = warp_reduce(value, op);
  __syncthreads();  // the previous call's readers are done
  if (thread % 32 == 0) of_warp[thread / 32] = value;
  __syncthreads();
  value = of_warp[0];
  for (int warp = 1; warp < warps; ++warp) value = op(value, of_warp[warp]);
  return value;
}

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Maximum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

template <class T>
__device__ inline T block_sum(T value) {
  return block_reduce(value, Plus{});
}

/// Sums of x and x^2: in float of x - origin, the first value's, and moved to zero in double, so that nothing
/// cancels where the mean is large. For at most `items_a_thread` values.
struct Moments {
  float origin, shifted = 0, shifted_square = 0;
  int count = 0;

  __device__ explicit Moments(float first_value) : origin(first_value) {}
  __device__ void add(float value) {
    const float v = value - origin;
    shifted += v;
    shifted_square = fmaf(v, v, shifted_square);
    ++count;
  }
  __device__ double sum() const { return shifted + count * double{origin}; }
  __device__ double square() const {
    return shifted_square + double{origin} * (2.0 * shifted + count * double{origin});
  }
};

/// Mean and biased variance from such sums; NaN stays NaN.
__device__ inline void finish_moments(float& mean, float& variance, double sum, double square, double count) {
  const double m = sum / count, v = square / count - m * m;
  mean = static_cast<float>(m);
  variance = static_cast<float>(v < 0 ? 0 : v);
}

// --- Sums over all items of a problem, Results of them at once ---------------------------------------------

/// Items that one thread sums in float before the sum goes on in double: few enough for float's 24 bits.
inline constexpr int items_a_thread = 64;

template <int Results, class Sum, class F>
__global__ void grid_sums_kernel(F terms, double* partials, int64_t items) {
  const int64_t first = int64_t{blockIdx.x} * (block_threads * items_a_thread),
                limit = min(items, first + block_threads * items_a_thread);
  Sum sums[Results] = {};
  for (int64_t i = first + threadIdx.x; i < limit; i += block_threads) terms(i, sums);
  for (int r = 0; r < Results; ++r) {
    const double sum = block_sum(static_cast<double>(sums[r]));
    if (threadIdx.x == 0) partials[int64_t{r} * gridDim.x + blockIdx.x] = sum;
  }
}

template <int Results, class F>
__global__ void finish_grid_sums_kernel(F finish, const double* partials, int64_t pieces) {
  double sums[Results];
  for (int r = 0; r < Results; ++r) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < pieces; i += block_threads) sum += partials[r * pieces + i];
    sums[r] = block_sum(sum);
  }
  if (threadIdx.x == 0) finish(sums);
}

/// Calls terms(i, Sum (&sums)[Results]), which adds to `sums`, for every i in [0, items) (neighbouring
/// threads get neighbouring i), then finish(const double (&sums)[Results]) once. Both are device functors.
/// `Sum` is float, or double where the terms may leave float's range or the result must be exact.
template <int Results, class Sum = float, class Terms, class Finish>
void grid_sums(int64_t items, Terms terms, Finish finish, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const unsigned pieces = blocks_for(items, block_threads * items_a_thread);
  double* const partials = scope.allocate<double>(size_t{pieces} * Results);
  grid_sums_kernel<Results, Sum><<<pieces, block_threads, 0, stream_of(exec)>>>(terms, partials, items);
  check_launch();
  finish_grid_sums_kernel<Results><<<1, block_threads, 0, stream_of(exec)>>>(finish, partials, pieces);
  check_launch();
}

// --- Sums per channel --------------------------------------------------------------------------------------

/// How a block of `block_threads` threads covers `channels` channels: `width` of them side by side (so that
/// loads coalesce), `rows` voxels at once.
struct ChannelTile {
  int width, rows;
  int64_t tiles;  ///< blocks side by side that cover all channels
};
inline ChannelTile channel_tile(int64_t channels) {
  const int width = static_cast<int>(std::min<int64_t>(channels, block_threads));
  return {width, block_threads / width, (channels + width - 1) / width};
}

template <int Results, class F>
__global__ void channel_sums_kernel(F sum_share, double* partials, int64_t voxels, int64_t channels,
                                    int64_t pieces, ChannelTile tile) {
  __shared__ double shared[block_threads];
  const int64_t piece = blockIdx.x % pieces, group = blockIdx.x / pieces / tile.tiles;
  const int column = static_cast<int>(threadIdx.x) % tile.width,
            row = static_cast<int>(threadIdx.x) / tile.width;
  const int64_t channel = blockIdx.x / pieces % tile.tiles * tile.width + column;
  const int64_t span = int64_t{tile.rows} * items_a_thread, first = piece * span,
                limit = min(voxels, first + span);
  double sums[Results] = {};
  if (row < tile.rows && channel < channels && first + row < limit)
    sum_share(group * voxels + first + row, group * voxels + limit, tile.rows, channel, sums);
  for (int r = 0; r < Results; ++r) {
    __syncthreads();
    shared[threadIdx.x] = sums[r];
    __syncthreads();
    if (row != 0 || channel >= channels) continue;
    double sum = 0;
    for (int i = 0; i < tile.rows; ++i) sum += shared[i * tile.width + column];
    partials[((group * channels + channel) * Results + r) * pieces + piece] = sum;
  }
}

template <int Results, class F>
__global__ void finish_channel_sums_kernel(F finish, const double* partials, int64_t pieces) {
  double sums[Results];
  for (int r = 0; r < Results; ++r) {
    const double* const mine = partials + (int64_t{blockIdx.x} * Results + r) * pieces;
    double sum = 0;
    for (int64_t i = threadIdx.x; i < pieces; i += block_threads) sum += mine[i];
    sums[r] = block_sum(sum);
  }
  if (threadIdx.x == 0) finish(int64_t{blockIdx.x}, sums);
}

/// `Results` sums for every channel of every group of voxels: group k is voxels [k * voxels, (k + 1) *
/// voxels) in [N,D,H,W] order. A thread calls sum_share(first, limit, step, channel, double (&sums)[Results])
/// once to add its share: voxels first, first + step, ... < limit, at most `items_a_thread` of them (so that
/// it may sum in float). Then finish(group * channels + channel, const double (&sums)[Results]) is called
/// once for each; calls of finish run in parallel and must not touch each other's results.
template <int Results, class Share, class Finish>
void channel_sums(int64_t groups, int64_t voxels, int64_t channels, Share sum_share, Finish finish,
                  const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const ChannelTile tile = channel_tile(channels);
  const int64_t pieces = blocks_for(voxels, tile.rows * items_a_thread);
  double* const partials = scope.allocate<double>(static_cast<size_t>(groups * channels * pieces * Results));
  channel_sums_kernel<Results>
      <<<static_cast<unsigned>(groups * tile.tiles * pieces), block_threads, 0, stream_of(exec)>>>(
          sum_share, partials, voxels, channels, pieces, tile);
  check_launch();
  finish_channel_sums_kernel<Results>
      <<<static_cast<unsigned>(groups * channels), block_threads, 0, stream_of(exec)>>>(finish, partials,
                                                                                        pieces);
  check_launch();
}

}  // namespace vg::kernels::cuda
