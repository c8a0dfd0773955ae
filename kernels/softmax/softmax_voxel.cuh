// Softmax of one voxel by one thread, also used by the losses. T, the type of activations, is float or
// bfloat16; everything is computed in float.
#pragma once

#include "kernels/common/bfloat16.h"
#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/common/voxel_pointer.cuh"

namespace vg::kernels::cuda {

/// True if every voxel of a view with four channels can be read and written at once: 16 bytes as float, 8 as
/// bfloat16.
template <class T>
bool vector_voxels(const View<T>& v) {
  return v.c == 4 && reinterpret_cast<uintptr_t>(v.data) % (4 * sizeof(T)) == 0 && v.stride_n % 4 == 0 &&
         v.stride_d % 4 == 0 && v.stride_h % 4 == 0 && v.stride_w % 4 == 0;
}

/// The channels of a voxel: in registers if their number is known at compile time ...
template <int Channels, class T>
struct VoxelValues {
  float values[Channels];

  /// `vectors`: vector_voxels of the view.
  __device__ VoxelValues(const T* p, [[maybe_unused]] bool vectors) {
    if constexpr (Channels == 4) {
      if (vectors) {
        if constexpr (sizeof(T) == 4) {
          const float4 v = *reinterpret_cast<const float4*>(p);
          values[0] = v.x, values[1] = v.y, values[2] = v.z, values[3] = v.w;
        } else {
          const uint2 v = *reinterpret_cast<const uint2*>(p);
          values[0] = __uint_as_float(v.x << 16), values[1] = __uint_as_float(v.x & 0xFFFF0000u);
          values[2] = __uint_as_float(v.y << 16), values[3] = __uint_as_float(v.y & 0xFFFF0000u);
        }
        return;
      }
    }
#pragma unroll
    for (int c = 0; c < Channels; ++c) values[c] = to_float(p[c]);
  }
  __device__ float operator[](int64_t c) const {
    return values[c];
  }
};
/// ... else read from memory each time (from a cache after the first).
template <class T>
struct VoxelValues<0, T> {
  const T* values;
  __device__ VoxelValues(const T* p, bool) : values(p) {}
  __device__ float operator[](int64_t c) const { return to_float(values[c]); }
};

/// Writes value(c) to the channels of a voxel, of which it may read the same channel before.
template <int Channels, class T, class F>
__device__ void write_voxel(T* p, [[maybe_unused]] bool vectors, int64_t channels, F value) {
  if constexpr (Channels == 4) {
    if (vectors) {
      if constexpr (sizeof(T) == 4) {
        *reinterpret_cast<float4*>(p) = make_float4(value(0), value(1), value(2), value(3));
      } else {
        ptx::store_global_8(p, ptx::pack_bfloat16(value(0), value(1)),
                            ptx::pack_bfloat16(value(2), value(3)));
      }
      return;
    }
  }
#pragma unroll
  for (int64_t c = 0; c < (Channels > 0 ? Channels : channels); ++c) p[c] = from_float<T>(value(c));
}

struct SoftmaxStatistics {
  float maximum, sum;  ///< sum of exp(x - maximum)
};
template <int Channels, class T>
__device__ SoftmaxStatistics softmax_statistics(const VoxelValues<Channels, T>& x, int64_t channels) {
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
