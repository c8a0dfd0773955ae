// Convolution with kernel 1 and stride 1 between few channels (1 to 8: the network's last layer, 16 -> 4) and
// more: bound by memory, so that all that counts is to read and write everything once in whole sectors. The
// channels of the wide side are spread over as many lanes as have 16 bytes to take; the few of the narrow
// side are values of each lane. A warp takes 32 voxels at a time and keeps its weights, or its sums of
// the weights' gradient, in registers while it passes over many of them.
#include "kernels/conv3d/conv3d_pointwise.cuh"

namespace vg::kernels::cuda {

namespace {

// Adds value[k] over the lanes of a group of 2 * Half, k = 0 .. 2 * Half - 1, so that lane k of the group
// gets the sum of value[k] in value[0]: each step passes on half of what is left.
template <int Half, int Narrow, int Parts>
__device__ __forceinline__ void add_over_group(float (&values)[Parts][Narrow], int lane) {
  if constexpr (Half > 0) {
    const bool upper = (lane & Half) != 0;
#pragma unroll
    for (int k = 0; k < Half; ++k) {
#pragma unroll
      for (int n = 0; n < Narrow; ++n) {
        const float pass = upper ? values[k][n] : values[k + Half][n],
                    keep = upper ? values[k + Half][n] : values[k][n];
        values[k][n] = keep + __shfl_xor_sync(0xFFFFFFFFu, pass, Half);
      }
    }
    add_over_group<Half / 2, Narrow, Parts>(values, lane);
  }
}

// From many channels to few; with `Norm`, of the input after its norm.
template <int Parts, int Narrow, bool Norm>
__global__ void __launch_bounds__(block_threads,
                                  (Norm ? least_norm_blocks<Parts, Narrow> : least_blocks<Parts, Narrow>))
    to_narrow_kernel(NarrowVoxels<bfloat16, Narrow> out, VoxelPointer<const bfloat16> in, Weights weights,
                     const float* bias, PointwiseGrid grid, NormArguments norm_of_input) {
  const WarpShare<Parts> share(grid);
  using LaneNormOrNone = std::conditional_t<Norm, LaneNorm, NoNorm>;
  const LaneNormOrNone norm(norm_of_input, share.sample, share.part * wide_channels);
  float w[Narrow][wide_channels], of_bias[Narrow];
  load_weights(w, weights, out.channels, share.part);
#pragma unroll
  for (int n = 0; n < Narrow; ++n) of_bias[n] = bias != nullptr && n < out.channels ? bias[n] : 0.0f;
  for (int64_t tile = share.first; share.begin(tile) < share.limit; tile += share.step) {
    Lanes<wide_channels> x[Parts];
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
      const int64_t voxel = share.voxel(tile, turn);
      x[turn] = voxel < share.limit
                    ? Lanes<wide_channels>::load_constant(in(voxel) + share.part * wide_channels)
                    : Lanes<wide_channels>::all(0);
    }
    if constexpr (Norm) {
#pragma unroll
      for (int turn = 0; turn < Parts; ++turn) norm.apply(x[turn]);
    }
    float sums[Parts][Narrow] = {};
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
#pragma unroll
      for (int c = 0; c < wide_channels; ++c) {
#pragma unroll
        for (int n = 0; n < Narrow; ++n) sums[turn][n] = fmaf(x[turn][c], w[n][c], sums[turn][n]);
      }
    }
    // A voxel's lanes hold the voxels of all turns: lane k of them ends up with that of turn k.
    add_over_group<Parts / 2, Narrow, Parts>(sums, share.lane);
    const int64_t voxel = share.voxel(tile, share.part);
    if (voxel >= share.limit) continue;
    Lanes<Narrow> y;
#pragma unroll
    for (int n = 0; n < Narrow; ++n) y[n] = sums[0][n] + of_bias[n];
    out.store(voxel, y);
  }
}

// From few channels to many.
template <int Parts, int Narrow>
__global__ void __launch_bounds__(block_threads, (least_blocks<Parts, Narrow>))
    to_wide_kernel(VoxelPointer<bfloat16> out, NarrowVoxels<const bfloat16, Narrow> in, Weights weights,
                   const float* bias, PointwiseGrid grid) {
  const WarpShare<Parts> share(grid);
  float w[Narrow][wide_channels];
  load_weights(w, weights, in.channels, share.part);
  Lanes<wide_channels> of_bias = Lanes<wide_channels>::all(0);
  if (bias != nullptr) {
#pragma unroll
    for (int c = 0; c < wide_channels; ++c) of_bias[c] = bias[share.part * wide_channels + c];
  }
  for (int64_t tile = share.first; share.begin(tile) < share.limit; tile += share.step) {
    Lanes<Narrow> x[Parts];
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
      const int64_t voxel = share.voxel(tile, turn);
      x[turn] = voxel < share.limit ? in.load(voxel) : Lanes<Narrow>::all(0);
    }
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
      const int64_t voxel = share.voxel(tile, turn);
      if (voxel >= share.limit) continue;
      Lanes<wide_channels> y = of_bias;
#pragma unroll
      for (int n = 0; n < Narrow; ++n) {
#pragma unroll
        for (int c = 0; c < wide_channels; ++c) y[c] = fmaf(x[turn][n], w[n][c], y[c]);
      }
      y.store(out(voxel) + share.part * wide_channels);
    }
  }
}

// Gradient of the weights: each block leaves its sums in partials[block], in the order of the weights.
template <int Parts, int Narrow>
__global__ void __launch_bounds__(block_threads, (least_blocks<Parts, Narrow>))
    pointwise_wgrad_kernel(float* partials, NarrowVoxels<const bfloat16, Narrow> narrow,
                           VoxelPointer<const bfloat16> wide, int64_t narrow_stride, int64_t wide_stride,
                           PointwiseGrid grid) {
  __shared__ float shared[warps][Narrow * Parts * wide_channels];
  const WarpShare<Parts> share(grid);
  float sums[Narrow][wide_channels] = {};
  for (int64_t tile = share.first; share.begin(tile) < share.limit; tile += share.step) {
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
      const int64_t voxel = share.voxel(tile, turn);
      if (voxel >= share.limit) continue;
      const auto x = Lanes<wide_channels>::load_constant(wide(voxel) + share.part * wide_channels);
      const Lanes<Narrow> y = narrow.load(voxel);
#pragma unroll
      for (int n = 0; n < Narrow; ++n) {
#pragma unroll
        for (int c = 0; c < wide_channels; ++c) sums[n][c] = fmaf(x[c], y[n], sums[n][c]);
      }
    }
  }
  // Over the warp's lanes of the same channels, then over the warps.
#pragma unroll
  for (int n = 0; n < Narrow; ++n) {
#pragma unroll
    for (int c = 0; c < wide_channels; ++c) {
#pragma unroll
      for (int distance = Parts; distance < 32; distance *= 2)
        sums[n][c] += __shfl_xor_sync(0xFFFFFFFFu, sums[n][c], distance);
      if (share.lane < Parts)
        shared[threadIdx.x / 32][(n * Parts + share.part) * wide_channels + c] = sums[n][c];
    }
  }
  __syncthreads();
  constexpr int width = Parts * wide_channels;
  partials += int64_t{blockIdx.x} * narrow.channels * width;
  for (int i = static_cast<int>(threadIdx.x); i < narrow.channels * width; i += block_threads) {
    float sum = 0;
    for (int warp = 0; warp < warps; ++warp) sum += shared[warp][i];
    partials[i / width * narrow_stride + i % width * wide_stride] = sum;
  }
}

// out = in times the weights; either side may be the narrow one.
void multiply(const View<bfloat16>& out, const View<const bfloat16>& in, const float* weight,
              int64_t out_stride, int64_t in_stride, const float* bias, const Exec& exec) {
  if (out.voxels() == 0) return;
  const PointwiseGrid grid = pointwise_grid(out.voxels());
  if (out.c <= in.c) {
    with_pointwise_channels(out.c, in.c, [&]<int Parts, int Narrow>() {
      to_narrow_kernel<Parts, Narrow, false><<<grid.blocks(), block_threads, 0, stream_of(exec)>>>(
          NarrowVoxels<bfloat16, Narrow>(out), VoxelPointer<const bfloat16>(in),
          {weight, out_stride, in_stride}, bias, grid, {});
    });
  } else {
    with_pointwise_channels(in.c, out.c, [&]<int Parts, int Narrow>() {
      to_wide_kernel<Parts, Narrow><<<grid.blocks(), block_threads, 0, stream_of(exec)>>>(
          VoxelPointer<bfloat16>(out), NarrowVoxels<const bfloat16, Narrow>(in),
          {weight, in_stride, out_stride}, bias, grid);
    });
  }
  check_launch();
}

}  // namespace

void conv3d_forward_pointwise(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                              const float* bias, const Exec& exec, const InputNorm* norm) {
  if (norm == nullptr) return multiply(y, x, weight, x.c, 1, bias, exec);
  if (y.voxels() == 0) return;
  const PointwiseGrid grid = pointwise_sample_grid(x);
  with_pointwise_channels(y.c, x.c, [&]<int Parts, int Narrow>() {
    to_narrow_kernel<Parts, Narrow, true><<<grid.blocks(), block_threads, 0, stream_of(exec)>>>(
        NarrowVoxels<bfloat16, Narrow>(y), VoxelPointer<const bfloat16>(x), {weight, x.c, 1}, bias, grid,
        norm_arguments(*norm, x.c));
  });
  check_launch();
}

void conv3d_backward_input_pointwise(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                     const Exec& exec) {
  multiply(dx, dy, weight, 1, dx.c, nullptr, exec);
}

void conv3d_backward_weight_pointwise(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                      const Exec& exec) {
  const int64_t count = dy.c * x.c;
  if (dy.voxels() == 0) return;
  const PointwiseGrid grid = pointwise_grid(dy.voxels());
  WorkspaceScope scope(*exec.workspace);
  float* const partials = scope.allocate<float>(size_t{grid.blocks()} * static_cast<size_t>(count));
  const bool narrow_dy = dy.c <= x.c;
  with_pointwise_channels(std::min(dy.c, x.c), std::max(dy.c, x.c), [&]<int Parts, int Narrow>() {
    pointwise_wgrad_kernel<Parts, Narrow><<<grid.blocks(), block_threads, 0, stream_of(exec)>>>(
        partials, NarrowVoxels<const bfloat16, Narrow>(narrow_dy ? dy : x),
        VoxelPointer<const bfloat16>(narrow_dy ? x : dy), narrow_dy ? x.c : 1, narrow_dy ? 1 : x.c, grid);
  });
  check_launch();
  accumulate_pieces(dweight, partials, count, grid.blocks(), exec);
}

}  // namespace vg::kernels::cuda
