// Softmax of one voxel by one thread, also used by the losses.
#pragma once

#include "kernels/common/launch.cuh"

namespace vg::kernels::cuda {

/// True if every voxel of a view with four channels can be read and written as one float4.
template <class T>
bool float4_voxels(const View<T>& v) {
  return v.c == 4 && reinterpret_cast<uintptr_t>(v.data) % 16 == 0 && v.stride_n % 4 == 0 &&
         v.stride_d % 4 == 0 && v.stride_h % 4 == 0 && v.stride_w % 4 == 0;
}

/// The channels of a voxel: in registers if their number is known at compile time ...
template <int Channels>
struct VoxelValues {
  float values[Channels];

  /// `vectors`: float4_voxels of the view.
  __device__ VoxelValues(const float* p, [[maybe_unused]] bool vectors) {
    if constexpr (Channels == 4) {
      if (vectors) {
        const float4 v = *reinterpret_cast<const float4*>(p);
        values[0] = v.x, values[1] = v.y, values[2] = v.z, values[3] = v.w;
        return;
      }
    }
#pragma unroll
    for (int c = 0; c < Channels; ++c) values[c] = p[c];
  }
  __device__ float operator[](int64_t c) const {
    return values[c];
  }
};
/// ... else read from memory each time (from a cache after the first).
template <>
struct VoxelValues<0> {
  const float* values;
  __device__ VoxelValues(const float* p, bool) : values(p) {}
  __device__ float operator[](int64_t c) const { return values[c]; }
};

/// Writes value(c) to the channels of a voxel, of which it may read the same channel before.
template <int Channels, class F>
__device__ void write_voxel(float* p, [[maybe_unused]] bool vectors, int64_t channels, F value) {
  if constexpr (Channels == 4) {
    if (vectors) {
      *reinterpret_cast<float4*>(p) = make_float4(value(0), value(1), value(2), value(3));
      return;
    }
  }
#pragma unroll
  for (int64_t c = 0; c < (Channels > 0 ? Channels : channels); ++c) p[c] = value(c);
}

struct SoftmaxStatistics {
  float maximum, sum;  ///< sum of exp(x - maximum)
};
template <int Channels>
__device__ SoftmaxStatistics softmax_statistics(const VoxelValues<Channels>& x, int64_t channels) {
  const int64_t count = Channels > 0 ? Channels : channels;
  float maximum = x[0], sum = 0;
#pragma unroll
  for (int64_t c = 1; c < count; ++c) maximum = x[c] > maximum ? x[c] : maximum;
#pragma unroll
  for (int64_t c = 0; c < count; ++c) sum += expf(x[c] - maximum);
  return {maximum, sum};
}

/// A channel count known at compile time, or 0 for any other.
template <int Count>
struct KnownChannels {
  static constexpr int value = Count;
};
template <class Body>
void dispatch_channels(int64_t channels, const Body& body) {
  switch (channels) {
    case 1:
      return body(KnownChannels<1>{});
    case 2:
      return body(KnownChannels<2>{});
    case 3:
      return body(KnownChannels<3>{});
    case 4:
      return body(KnownChannels<4>{});
    default:
      return body(KnownChannels<0>{});
  }
}

}  // namespace vg::kernels::cuda
