// The one way in which kernels see an activation: a non-owning pointer with extents and strides, channels
// last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__
#define VG_HOST_DEVICE __host__ __device__
#else
#define VG_HOST_DEVICE
#endif
// Always inlined: these functions are compiled once per CPU instruction set, and an out-of-line copy could be
// taken from the wrong one.
#define VG_INLINE VG_HOST_DEVICE inline __attribute__((always_inline))

namespace vg::kernels {

/// bfloat16 storage: the upper half of a float. Arithmetic is done in float.
struct bfloat16 {
  uint16_t bits;
};

/// [N, D, H, W, C] with contiguous channels and free strides (in elements) for n, d, h, w. A channel slice of
/// a wider buffer and the interior of a buffer with a halo are ordinary views.
///
/// `halo` promises that this many voxels beyond each face of D, H and W exist in memory at the same strides
/// and hold zero; convolutions with padding <= halo then need no edge code. Kernels never write the halo.
template <class T>
struct View {
  T* data = nullptr;
  int64_t n = 0, d = 0, h = 0, w = 0, c = 0;
  int64_t stride_n = 0, stride_d = 0, stride_h = 0, stride_w = 0;
  int halo = 0;

  VG_INLINE T* at(int64_t in, int64_t id, int64_t ih, int64_t iw = 0) const {
    return data + in * stride_n + id * stride_d + ih * stride_h + iw * stride_w;
  }
  VG_INLINE int64_t voxels() const { return n * d * h * w; }
  VG_INLINE int64_t elements() const { return voxels() * c; }
  /// Rows along w are the unit of iteration: n * d * h of them.
  VG_INLINE int64_t rows() const { return n * d * h; }
  VG_INLINE T* row(int64_t index) const { return at(index / (d * h), index / h % d, index % h); }
  /// True if a row is one run of w * c elements.
  VG_INLINE bool rows_contiguous() const { return stride_w == c || w == 1; }
  /// True if the whole view is one run of elements.
  VG_INLINE bool contiguous() const {
    return rows_contiguous() && (h == 1 || stride_h == w * c) && (d == 1 || stride_d == h * w * c) &&
           (n == 1 || stride_n == d * h * w * c);
  }
  template <class U>
  VG_INLINE bool same_shape(const View<U>& o) const {
    return n == o.n && d == o.d && h == o.h && w == o.w && c == o.c;
  }
  template <class U>
  VG_INLINE bool same_voxels(const View<U>& o) const {
    return n == o.n && d == o.d && h == o.h && w == o.w;
  }
  /// Channels [begin, end) of this view.
  VG_INLINE View channels(int64_t begin, int64_t end) const {
    View v = *this;
    v.data += begin;
    v.c = end - begin;
    return v;
  }
  template <class U>
  requires(!std::is_const_v<T> && std::is_same_v<U, const T>) VG_INLINE operator View<U>() const {
    return {data, n, d, h, w, c, stride_n, stride_d, stride_h, stride_w, halo};
  }
};

/// A contiguous [N, D, H, W, C] view without halo.
template <class T>
VG_INLINE View<T> contiguous_view(T* data, int64_t n, int64_t d, int64_t h, int64_t w, int64_t c) {
  return {data, n, d, h, w, c, d * h * w * c, h * w * c, w * c, c, 0};
}

/// A flat array of `count` elements as a view (one row of `count` voxels with one channel).
template <class T>
VG_INLINE View<T> flat_view(T* data, int64_t count) {
  return contiguous_view(data, 1, 1, 1, count, 1);
}

}  // namespace vg::kernels
