// Convolution with kernel 1 and stride 1 between few channels (1 to 8: the network's last layer, 16 -> 4) and
// more: bound by memory, so that all that counts is to read and write everything once in whole sectors. The
// channels of the wide side are spread over as many lanes as have 16 bytes to take; the few of the narrow
// side are values of each lane. A warp takes 32 voxels at a time and keeps its weights, or its sums of
// the weights' gradient, in registers while it passes over many of them.
#include "kernels/common/lanes.cuh"
#include "kernels/common/voxel_pointer.cuh"
#include "kernels/conv3d/conv3d_cuda.h"

namespace vg::kernels::cuda {

namespace {

constexpr int wide_channels = 8;  // of a lane: 16 bytes
constexpr int warp_voxels = 32;   // that a warp takes at a time
constexpr int warps = block_threads / 32;

// Blocks a multiprocessor that the kernels' registers must leave room for: the bytes that their threads wait
// for cover the latency of memory (16 -> 4: 2 x 256 x 32 = 16 KiB; an A100 needs 8 KiB).
template <int Parts, int Narrow>
constexpr int least_blocks = Parts* Narrow >= 32 ? 1 : 2;

// How a warp's lanes divide `warp_voxels` voxels: lane l takes 8 channels from 8 * part() on of voxel
// voxel(k) in turn k of `Parts`. In all turns together they are as many voxels as lanes.
template <int Parts>
struct WarpShare {
  static constexpr int voxels_a_turn = 32 / Parts;
  int lane = static_cast<int>(threadIdx.x) % 32;
  int part = lane % Parts;
  int64_t first = int64_t{blockIdx.x} * warps + threadIdx.x / 32;  ///< tile of the warp
  int64_t step = int64_t{gridDim.x} * warps;

  __device__ __forceinline__ int64_t voxel(int64_t tile, int turn) const {
    return tile * warp_voxels + turn * voxels_a_turn + lane / Parts;
  }
};

// The narrow side: up to `Narrow` channels, the missing ones read as zero.
template <class T, int Narrow>
struct NarrowVoxels {
  VoxelPointer<T> at;
  int channels;
  bool whole;  ///< all of them in one access

  explicit NarrowVoxels(const View<T>& view)
      : at(view), channels(static_cast<int>(view.c)), whole(view.c == Narrow && takes_lanes<Narrow>(view)) {}
  __device__ __forceinline__ Lanes<Narrow> load(int64_t voxel) const {
    T* const from = at(voxel);
    if (whole) return Lanes<Narrow>::load_constant(from);
    Lanes<Narrow> values;
#pragma unroll
    for (int i = 0; i < Narrow; ++i) values[i] = i < channels ? to_float(from[i]) : 0.0f;
    return values;
  }
  __device__ __forceinline__ void store(int64_t voxel, const Lanes<Narrow>& values) const {
    T* const to = at(voxel);
    if (whole) return values.store(to);
#pragma unroll
    for (int i = 0; i < Narrow; ++i) {
      if (i < channels) to[i] = to_bfloat16(values[i]);
    }
  }
};

// The weight between a channel of the narrow and one of the wide side.
struct Weights {
  const float* data;
  int64_t narrow_stride, wide_stride;
};

// A lane's weights, rounded to bfloat16.
template <int Narrow>
__device__ __forceinline__ void load_weights(float (&w)[Narrow][wide_channels], const Weights& weights,
                                             int channels, int part) {
#pragma unroll
  for (int n = 0; n < Narrow; ++n) {
#pragma unroll
    for (int c = 0; c < wide_channels; ++c) {
      const int64_t i = n * weights.narrow_stride + (part * wide_channels + c) * weights.wide_stride;
      w[n][c] = n < channels ? to_float(to_bfloat16(weights.data[i])) : 0.0f;
    }
  }
}

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

// From many channels to few.
template <int Parts, int Narrow>
__global__ void __launch_bounds__(block_threads, (least_blocks<Parts, Narrow>))
    to_narrow_kernel(NarrowVoxels<bfloat16, Narrow> out, VoxelPointer<const bfloat16> in, Weights weights,
                     const float* bias, int64_t voxels) {
  const WarpShare<Parts> share;
  float w[Narrow][wide_channels], of_bias[Narrow];
  load_weights(w, weights, out.channels, share.part);
#pragma unroll
  for (int n = 0; n < Narrow; ++n) of_bias[n] = bias != nullptr && n < out.channels ? bias[n] : 0.0f;
  for (int64_t tile = share.first; tile * warp_voxels < voxels; tile += share.step) {
    Lanes<wide_channels> x[Parts];
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
      const int64_t voxel = share.voxel(tile, turn);
      x[turn] = voxel < voxels ? Lanes<wide_channels>::load_constant(in(voxel) + share.part * wide_channels)
                               : Lanes<wide_channels>::all(0);
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
    if (voxel >= voxels) continue;
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
                   const float* bias, int64_t voxels) {
  const WarpShare<Parts> share;
  float w[Narrow][wide_channels];
  load_weights(w, weights, in.channels, share.part);
  Lanes<wide_channels> of_bias = Lanes<wide_channels>::all(0);
  if (bias != nullptr) {
#pragma unroll
    for (int c = 0; c < wide_channels; ++c) of_bias[c] = bias[share.part * wide_channels + c];
  }
  for (int64_t tile = share.first; tile * warp_voxels < voxels; tile += share.step) {
    Lanes<Narrow> x[Parts];
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
      const int64_t voxel = share.voxel(tile, turn);
      x[turn] = voxel < voxels ? in.load(voxel) : Lanes<Narrow>::all(0);
    }
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
      const int64_t voxel = share.voxel(tile, turn);
      if (voxel >= voxels) continue;
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
                           int64_t voxels) {
  __shared__ float shared[warps][Narrow * Parts * wide_channels];
  const WarpShare<Parts> share;
  float sums[Narrow][wide_channels] = {};
  for (int64_t tile = share.first; tile * warp_voxels < voxels; tile += share.step) {
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
      const int64_t voxel = share.voxel(tile, turn);
      if (voxel >= voxels) continue;
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

// Enough blocks to fill a GPU of 128 multiprocessors eight times over; each warp then has many voxels for
// its weights. Not the device's own number: the order of sums must not depend on it.
int64_t blocks_of(int64_t voxels) {
  constexpr int64_t most = 1024;
  return std::clamp<int64_t>(voxels / (block_threads * 4), 1, most);
}

// Calls body.operator()<Parts, Narrow>() for so many channels, as pointwise_applies() allows them.
template <class Body>
void with_channels(int64_t narrow, int64_t wide, const Body& body) {
  const auto with_parts = [&]<int Parts>() {
    if (narrow <= 4) return body.template operator()<Parts, 4>();
    body.template operator()<Parts, 8>();
  };
  switch (wide) {
    case 8:
      return with_parts.template operator()<1>();
    case 16:
      return with_parts.template operator()<2>();
    case 32:
      return with_parts.template operator()<4>();
    case 64:
      return with_parts.template operator()<8>();
    default:
      require(false, "conv3d with kernel 1: no kernel for ", narrow, " and ", wide, " channels");
  }
}

// out = in times the weights; either side may be the narrow one.
void multiply(const View<bfloat16>& out, const View<const bfloat16>& in, const float* weight,
              int64_t out_stride, int64_t in_stride, const float* bias, const Exec& exec) {
  const int64_t voxels = out.voxels();
  if (voxels == 0) return;
  const auto blocks = static_cast<unsigned>(blocks_of(voxels));
  if (out.c <= in.c) {
    with_channels(out.c, in.c, [&]<int Parts, int Narrow>() {
      to_narrow_kernel<Parts, Narrow><<<blocks, block_threads, 0, stream_of(exec)>>>(
          NarrowVoxels<bfloat16, Narrow>(out), VoxelPointer<const bfloat16>(in),
          {weight, out_stride, in_stride}, bias, voxels);
    });
  } else {
    with_channels(in.c, out.c, [&]<int Parts, int Narrow>() {
      to_wide_kernel<Parts, Narrow><<<blocks, block_threads, 0, stream_of(exec)>>>(
          VoxelPointer<bfloat16>(out), NarrowVoxels<const bfloat16, Narrow>(in),
          {weight, in_stride, out_stride}, bias, voxels);
    });
  }
  check_launch();
}

}  // namespace

void conv3d_forward_pointwise(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                              const float* bias, const Exec& exec) {
  multiply(y, x, weight, x.c, 1, bias, exec);
}

void conv3d_backward_input_pointwise(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                     const Exec& exec) {
  multiply(dx, dy, weight, 1, dx.c, nullptr, exec);
}

void conv3d_backward_weight_pointwise(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                      const Exec& exec) {
  const int64_t voxels = dy.voxels(), blocks = blocks_of(voxels), count = dy.c * x.c;
  if (voxels == 0) return;
  WorkspaceScope scope(*exec.workspace);
  float* const partials = scope.allocate<float>(static_cast<size_t>(blocks * count));
  const bool narrow_dy = dy.c <= x.c;
  with_channels(std::min(dy.c, x.c), std::max(dy.c, x.c), [&]<int Parts, int Narrow>() {
    pointwise_wgrad_kernel<Parts, Narrow>
        <<<static_cast<unsigned>(blocks), block_threads, 0, stream_of(exec)>>>(
            partials, NarrowVoxels<const bfloat16, Narrow>(narrow_dy ? dy : x),
            VoxelPointer<const bfloat16>(narrow_dy ? x : dy), narrow_dy ? x.c : 1, narrow_dy ? 1 : x.c,
            voxels);
  });
  check_launch();
  accumulate_pieces(dweight, partials, count, blocks, exec);
}

}  // namespace vg::kernels::cuda
