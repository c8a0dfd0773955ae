// Pointwise passes over views on the CPU. For *_cpu.cpp.
#pragma once

#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"

namespace vg::kernels::cpu::VG_ISA {

/// Elements that one thread takes at a time: large against the cost of handing them out, small against a
/// cache.
inline constexpr int64_t segment_elements = 16384;

/// Calls body(row, first voxel, voxels) in parallel for pieces of rows that cover `y`. Long rows are cut (a
/// flat array is one row).
template <class T, class Body>
inline void for_each_segment(const View<T>& y, const Body& body) {
  const int64_t voxels = y.w * y.c <= segment_elements ? y.w : (segment_elements + y.c - 1) / y.c;
  const int64_t segments = voxels == 0 ? 0 : (y.w + voxels - 1) / voxels;
  const int64_t grain = y.w == 0 || y.c == 0 ? 1 : 1 + segment_elements / (voxels * y.c);
  parallel_for(y.rows() * segments, grain, [&](int64_t i) {
    const int64_t row = i / segments, first = i % segments * voxels;
    body(row, first, first + voxels < y.w ? voxels : y.w - first);
  });
}

/// Voxel `first` of row `row`.
template <class T>
VG_INLINE T* pointer(const View<T>& view, int64_t row, int64_t first) {
  return view.row(row) + first * view.stride_w;
}

/// y = f(x...) element by element; f takes and returns a Vec. y may be one of x.
template <class F, class... X>
inline void map_vectors(const F& f, const View<float>& y, const View<X>&... x) {
  const bool runs = y.rows_contiguous() && (x.rows_contiguous() && ...);
  for_each_segment(y, [&](int64_t row, int64_t first, int64_t voxels) {
    const int64_t pieces = runs ? 1 : voxels, length = runs ? voxels * y.c : y.c;
    for (int64_t piece = 0; piece < pieces; ++piece) {
      float* const out = pointer(y, row, first + piece);
      [&](const X*... in) {
        int64_t i = 0;
        for (; i + lanes <= length; i += lanes) store(out + i, f(load(in + i)...));
        if (i < length) store_partial(out + i, f(load_partial(in + i, length - i)...), length - i);
      }(pointer(x, row, first + piece)...);
    }
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
