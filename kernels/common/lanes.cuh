// Neighbouring channels in the registers of one thread. Memory-bound kernels move 16 bytes a thread and
// access: a warp's 512 are whole sectors of 32, and a quarter as many requests as with 4 bytes. Written once
// for float and bfloat16; arithmetic is done in float.
#pragma once

#include "kernels/common/bfloat16.h"
#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"

namespace vg::kernels::cuda {

/// Elements of the widest of the types that fill 16 bytes; the others then take 8.
template <class... T>
inline constexpr int lanes_of = 16 / static_cast<int>(std::max({sizeof(T)...}));

/// True if every voxel of the view lies at a multiple of what `Width` elements take, at most 16 bytes, and
/// has a multiple of `Width` channels.
template <int Width, class T>
bool takes_lanes(const View<T>& view) {
  constexpr size_t bytes = std::min<size_t>(Width * sizeof(T), 16);
  const auto aligned = [](int64_t extent, int64_t stride) {
    return extent == 1 || stride * static_cast<int64_t>(sizeof(T)) % static_cast<int64_t>(bytes) == 0;
  };
  return view.c % Width == 0 && reinterpret_cast<uintptr_t>(view.data) % bytes == 0 &&
         aligned(view.n, view.stride_n) && aligned(view.d, view.stride_d) && aligned(view.h, view.stride_h) &&
         aligned(view.w, view.stride_w);
}

/// `Width` elements as they lie in memory: 1, or 4, 8, 16, 32 ... bytes aligned as takes_lanes() says.
template <class T, int Width>
struct Raw {
  static constexpr int bytes = Width * static_cast<int>(sizeof(T)), words = bytes / 4;
  uint32_t word[words];

  /// From memory that this kernel may also write, but by the same thread and later.
  static __device__ __forceinline__ Raw load(const T* from) {
    Raw raw;
    if constexpr (bytes == 8) {
      ptx::load_global_8(raw.word, from);
    } else {
#pragma unroll
      for (int i = 0; i < words; i += 4)
        ptx::load_global_16(*reinterpret_cast<uint32_t(*)[4]>(raw.word + i),
                            reinterpret_cast<const uint32_t*>(from) + i);
    }
    return raw;
  }
  /// From memory that nobody writes during the kernel: the compiler may start it earlier.
  static __device__ __forceinline__ Raw load_constant(const T* from) {
    Raw raw;
    if constexpr (bytes == 8) {
      ptx::load_constant_8(raw.word, from);
    } else {
#pragma unroll
      for (int i = 0; i < words; i += 4)
        ptx::load_constant_16(*reinterpret_cast<uint32_t(*)[4]>(raw.word + i),
                              reinterpret_cast<const uint32_t*>(from) + i);
    }
    return raw;
  }
  __device__ __forceinline__ void store(T* to) const {
    if constexpr (bytes == 8) {
      ptx::store_global_8(to, word[0], word[1]);
    } else {
#pragma unroll
      for (int i = 0; i < words; i += 4)
        ptx::store_global_16(reinterpret_cast<uint32_t*>(to) + i, word[i], word[i + 1], word[i + 2],
                             word[i + 3]);
    }
  }
};
template <class T>
struct Raw<T, 1> {
  T value;
  static __device__ __forceinline__ Raw load(const T* from) { return {*from}; }
  static __device__ __forceinline__ Raw load_constant(const T* from) { return {*from}; }
  __device__ __forceinline__ void store(T* to) const { *to = value; }
};

/// `Width` neighbouring elements as floats.
template <int Width>
struct Lanes {
  float v[Width];

  __device__ __forceinline__ float& operator[](int i) { return v[i]; }
  __device__ __forceinline__ float operator[](int i) const { return v[i]; }

  template <class T>
  static __device__ __forceinline__ Lanes load(const T* from) {
    return from_raw(Raw<T, Width>::load(from));
  }
  template <class T>
  static __device__ __forceinline__ Lanes load_constant(const T* from) {
    return from_raw(Raw<T, Width>::load_constant(from));
  }
  /// Parameters, one a channel, at any address.
  static __device__ __forceinline__ Lanes parameters(const float* from) {
    if constexpr (Width > 1) {
      if (reinterpret_cast<uintptr_t>(from) % 16 == 0) return load_constant(from);
    }
    Lanes lanes;
#pragma unroll
    for (int i = 0; i < Width; ++i) lanes.v[i] = from[i];
    return lanes;
  }
  static __device__ __forceinline__ Lanes all(float value) {
    Lanes lanes;
#pragma unroll
    for (int i = 0; i < Width; ++i) lanes.v[i] = value;
    return lanes;
  }
  template <class T>
  __device__ __forceinline__ void store(T* to) const {
    to_raw<T>().store(to);
  }
  template <class T>
  __device__ __forceinline__ Raw<T, Width> to_raw() const {
    Raw<T, Width> raw;
    if constexpr (Width == 1) {
      raw.value = from_float<T>(v[0]);
    } else if constexpr (std::is_same_v<T, bfloat16>) {
#pragma unroll
      for (int i = 0; i < Width / 2; ++i) raw.word[i] = ptx::pack_bfloat16(v[2 * i], v[2 * i + 1]);
    } else {
#pragma unroll
      for (int i = 0; i < Width; ++i) raw.word[i] = __float_as_uint(v[i]);
    }
    return raw;
  }

 private:
  template <class T>
  static __device__ __forceinline__ Lanes from_raw(const Raw<T, Width>& raw) {
    Lanes lanes;
    if constexpr (Width == 1) {
      lanes.v[0] = to_float(raw.value);
    } else if constexpr (std::is_same_v<std::remove_const_t<T>, bfloat16>) {
#pragma unroll
      for (int i = 0; i < Width; i += 2) {
        lanes.v[i] = __uint_as_float(raw.word[i / 2] << 16);
        lanes.v[i + 1] = __uint_as_float(raw.word[i / 2] & 0xFFFF0000u);
      }
    } else {
#pragma unroll
      for (int i = 0; i < Width; ++i) lanes.v[i] = __uint_as_float(raw.word[i]);
    }
    return lanes;
  }
};

}  // namespace vg::kernels::cuda
