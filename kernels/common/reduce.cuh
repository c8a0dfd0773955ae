// Deterministic reductions on CUDA: within a block, over a grid in two launches, and per channel of an
// activation. Partition and order depend on the problem alone; there are no atomics.
#pragma once

#include "kernels/common/channel_shares.cuh"

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
  __device__ Moments(float of, float sum, float sum_of_squares, int values)
      : origin(of), shifted(sum), shifted_square(sum_of_squares), count(values) {}
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
__global__ void __launch_bounds__(block_threads, 4)
    grid_sums_kernel(F terms, double* partials, int64_t items, int64_t span) {
  const int64_t first = blockIdx.x * span, limit = min(items, first + span);
  Sum sums[Results] = {};
#pragma unroll 2
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
  // As in share_grid(): enough blocks for a large GPU, but for a few items.
  const int64_t a_thread = std::clamp<int64_t>(items / (block_threads * int64_t{2048}), 8, items_a_thread);
  const int64_t span = a_thread * block_threads;
  const auto pieces = static_cast<unsigned>(std::max<int64_t>(1, (items + span - 1) / span));
  double* const partials = scope.allocate<double>(size_t{pieces} * Results);
  grid_sums_kernel<Results, Sum><<<pieces, block_threads, 0, stream_of(exec)>>>(terms, partials, items, span);
  check_launch();
  finish_grid_sums_kernel<Results><<<1, block_threads, 0, stream_of(exec)>>>(finish, partials, pieces);
  check_launch();
}

// --- Sums per channel --------------------------------------------------------------------------------------

/// Sums of one thread: of `Width` neighbouring channels, `Results` each.
template <int Results, int Width>
struct ChannelSums {
  double v[Results][Width] = {};
};

template <int Results, int Width, class F>
__global__ void __launch_bounds__(block_threads)
    channel_sums_kernel(F sum_share, double* partials, ShareGrid grid, int parts) {
  __shared__ double shared[Width][block_threads];
  const int thread = static_cast<int>(threadIdx.x), channels = grid.columns * Width;
  const Share share = share_of_thread<Width>(grid);
  ChannelSums<Results, Width> sums;
  if (share.first < share.limit) sum_share(share, sums);
#pragma unroll
  for (int r = 0; r < Results; ++r) {
#pragma unroll
    for (int i = 0; i < Width; ++i) shared[i][thread] = sums.v[r][i];
    __syncthreads();
    // `parts` neighbouring lanes take the rows of a channel in turn, then add up in pairs.
    for (int first = 0; first < channels * parts; first += block_threads) {
      const int local = (first + thread) / parts, part = (first + thread) % parts;
      double sum = 0;
      if (local < channels) {
        const double* const of_rows = shared[local % Width] + local / Width;
        for (int row = part; row < grid.rows; row += parts) sum += of_rows[row * grid.columns];
      }
      for (int distance = parts / 2; distance > 0; distance /= 2)
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
      const int64_t channel = share.channel - int64_t{share.column} * Width + local;
      if (part == 0 && local < channels && channel < grid.channels)
        partials[((share.group * grid.channels + channel) * Results + r) * grid.pieces + share.piece] = sum;
    }
    __syncthreads();
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
/// voxels) in [N,D,H,W] order. A thread calls sum_share(const Share&, ChannelSums<Results, Width>&) once to
/// add its share, at most `items_a_thread` voxels (so that it may sum in float). Then finish(group * channels
/// + channel, const double (&sums)[Results]) is called once for each; calls of finish run in parallel and
/// must not touch each other's results.
template <int Results, int Width, class Sum, class Finish>
void channel_sums(int64_t groups, int64_t voxels, int64_t channels, const Sum& sum_share,
                  const Finish& finish, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  // At least eight voxels a thread: the sums of a block cost about as much as two.
  const ShareGrid grid = share_grid(groups, voxels, channels, Width, 8, items_a_thread);
  int parts = 1;  // a power of two that fits into a warp and, with the block's channels, into the block
  while (2 * parts <= 32 && 2 * parts * grid.columns * Width <= block_threads) parts *= 2;
  double* const partials =
      scope.allocate<double>(static_cast<size_t>(groups * channels * int64_t{grid.pieces} * Results));
  channel_sums_kernel<Results, Width>
      <<<grid.blocks(), block_threads, 0, stream_of(exec)>>>(sum_share, partials, grid, parts);
  check_launch();
  finish_channel_sums_kernel<Results>
      <<<static_cast<unsigned>(groups * channels), block_threads, 0, stream_of(exec)>>>(finish, partials,
                                                                                        grid.pieces);
  check_launch();
}

}  // namespace vg::kernels::cuda
