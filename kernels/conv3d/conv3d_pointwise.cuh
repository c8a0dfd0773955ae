// What the kernels of convolutions with kernel 1 between few channels and more share: how a warp takes its
// voxels, the narrow side's channels, and the choice of a kernel by channels.
#pragma once

#include "kernels/common/lanes.cuh"
#include "kernels/common/voxel_pointer.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_input_norm.cuh"

namespace vg::kernels::cuda {

inline constexpr int wide_channels = 8;  // of a lane: 16 bytes
inline constexpr int warp_voxels = 32;   // that a warp takes at a time
inline constexpr int warps = block_threads / 32;

/// Blocks a multiprocessor that the kernels' registers must leave room for: the bytes that their threads wait
/// for cover the latency of memory (16 -> 4: 2 x 256 x 32 = 16 KiB; an A100 needs 8 KiB).
template <int Parts, int Narrow>
inline constexpr int least_blocks = Parts* Narrow >= 32 ? 1 : 2;

/// ... with a norm.
template <int Parts, int Narrow>
inline constexpr int least_norm_blocks = Narrow > 4 ? 1 : least_blocks<Parts, Narrow>;

/// The voxels of a launch: of each of some samples, or of all at once, and the blocks that share them.
struct PointwiseGrid {
  int64_t voxels;
  int samples, pieces;

  unsigned blocks() const { return static_cast<unsigned>(samples) * static_cast<unsigned>(pieces); }
};

/// How a warp's lanes divide `warp_voxels` voxels: lane l takes 8 channels from 8 * part on of voxel voxel(k)
/// in turn k of `Parts`. In all turns together they are as many voxels as lanes.
template <int Parts>
struct WarpShare {
  static constexpr int voxels_a_turn = 32 / Parts;
  int lane, part, sample;
  int64_t first, step;    ///< tiles of the warp, within its sample
  int64_t origin, limit;  ///< voxels before the sample; with its own

  __device__ __forceinline__ explicit WarpShare(const PointwiseGrid& grid)
      : lane(static_cast<int>(threadIdx.x) % 32),
        part(lane % Parts),
        sample(static_cast<int>(blockIdx.x) / grid.pieces),
        first(int64_t{static_cast<int>(blockIdx.x) % grid.pieces} * warps + threadIdx.x / 32),
        step(int64_t{grid.pieces} * warps),
        origin(sample * grid.voxels),
        limit(origin + grid.voxels) {}
  __device__ __forceinline__ int64_t begin(int64_t tile) const { return origin + tile * warp_voxels; }
  __device__ __forceinline__ int64_t voxel(int64_t tile, int turn) const {
    return begin(tile) + turn * voxels_a_turn + lane / Parts;
  }
};

/// The narrow side: up to `Narrow` channels, the missing ones read as zero.
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

/// The weight between a channel of the narrow and one of the wide side.
struct Weights {
  const float* data;
  int64_t narrow_stride, wide_stride;
};

/// A lane's weights, rounded to bfloat16.
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

/// The norm of a lane's channels, in the arithmetic of norm3d_apply().
struct LaneNorm {
  Lanes<wide_channels> mean, scale, shift;
  float slope;
  bool relu;

  /// For the channels from `channel` on of a sample.
  __device__ __forceinline__ LaneNorm(const NormArguments& norm, int64_t sample, int channel)
      : mean(Lanes<wide_channels>::parameters(norm.mean + sample * norm.group_stride + channel)),
        scale(Lanes<wide_channels>::parameters(norm.variance + sample * norm.group_stride + channel)),
        shift(Lanes<wide_channels>::all(0)),
        slope(norm.slope != nullptr ? *norm.slope : norm.negative_slope),
        relu(norm.relu) {
    Lanes<wide_channels> gamma = Lanes<wide_channels>::all(1);
    if (norm.gamma != nullptr) {
      gamma = Lanes<wide_channels>::parameters(norm.gamma + channel);
      shift = Lanes<wide_channels>::parameters(norm.beta + channel);
    }
#pragma unroll
    for (int k = 0; k < wide_channels; ++k) scale[k] = gamma[k] * (1 / sqrtf(scale[k] + norm.eps));
  }
  __device__ __forceinline__ float before_activation(float centred, int k) const {
    return fmaf(centred, scale[k], shift[k]);
  }
  __device__ __forceinline__ float activation(float v) const {
    return v <= 0 ? (relu ? 0.0f : v * slope) : v;
  }
  __device__ __forceinline__ float gradient(float dy, float v) const {
    return v <= 0 ? (relu ? 0.0f : dy * slope) : dy;
  }
  /// The result, rounded as it would be stored.
  __device__ __forceinline__ void apply(Lanes<wide_channels>& x) const {
#pragma unroll
    for (int k = 0; k < wide_channels; ++k)
      x[k] = to_float(to_bfloat16(activation(before_activation(x[k] - mean[k], k))));
  }
};

// --- Host side ---------------------------------------------------------------------------------------------

/// Enough blocks to fill a GPU of 128 multiprocessors eight times over; each warp then has many voxels for
/// its weights. Not the device's own number: the order of sums must not depend on it.
inline int64_t pointwise_blocks(int64_t voxels) {
  constexpr int64_t most = 1024;
  return std::clamp<int64_t>(voxels / (block_threads * 4), 1, most);
}

/// ... of all samples at once.
inline PointwiseGrid pointwise_grid(int64_t voxels) {
  return {voxels, 1, static_cast<int>(pointwise_blocks(voxels))};
}
/// ... each block of one sample.
template <class T>
PointwiseGrid pointwise_sample_grid(const View<T>& view) {
  const int64_t pieces = std::max<int64_t>(pointwise_blocks(view.voxels()) / view.n, 1);
  return {view.voxels() / view.n, static_cast<int>(view.n), static_cast<int>(pieces)};
}

/// Calls body.operator()<Parts, Narrow>() for so many channels, as pointwise_applies() allows them.
template <class Body>
void with_pointwise_channels(int64_t narrow, int64_t wide, const Body& body) {
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

}  // namespace vg::kernels::cuda
