// Every op is one pass over memory; a view is walked in runs of contiguous elements.
#include "kernels/common/bfloat16.h"
#include "kernels/common/map.h"
#include "kernels/elementwise/elementwise_impl.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// y[i] = f(inputs[i]...) over all elements, one by one: for types without vectors.
template <class F, class Y, class... X>
void map(const F& f, const View<Y>& y, const View<X>&... x) {
  const bool runs = y.rows_contiguous() && (x.rows_contiguous() && ...);
  for_each_segment(y, [&](int64_t row, int64_t first, int64_t voxels) {
    const int64_t pieces = runs ? 1 : voxels, length = runs ? voxels * y.c : y.c;
    for (int64_t p = 0; p < pieces; ++p) {
      Y* const out = pointer(y, row, first + p);
      [&](const X*... in) {
        for (int64_t i = 0; i < length; ++i) out[i] = f(in[i]...);
      }(pointer(x, row, first + p)...);
    }
  });
}

}  // namespace

void fill(View<float> y, float value, const Exec&) {
  map_vectors([v = broadcast(value)] { return v; }, y);
}

void fill(View<uint8_t> y, uint8_t value, const Exec&) {
  map([value] { return value; }, y);
}

// The planes beyond D, the rows beyond H and the voxels beyond W, in that order.
void zero_halo(View<float> y, const Exec&) {
  const int64_t halo = y.halo, depth = y.d + 2 * halo, height = y.h + 2 * halo;
  const auto zero = [&](float* first, int64_t voxels) {
    const int64_t run = y.stride_w == y.c ? voxels * y.c : y.c;
    for (int64_t i = 0; i < voxels * y.c; i += run, first += y.stride_w)
      std::memset(first, 0, static_cast<size_t>(run) * sizeof(float));
  };
  parallel_for(y.n * depth * height, 64, [&](int64_t i) {
    const int64_t d = i / height % depth - halo, h = i % height - halo;
    float* const row = y.at(i / height / depth, d, h, -halo);
    if (d < 0 || d >= y.d || h < 0 || h >= y.h) return zero(row, y.w + 2 * halo);
    zero(row, halo);
    zero(row + (halo + y.w) * y.stride_w, halo);
  });
}

void copy(View<float> y, View<const float> x, const Exec&) {
  if (y.c == 1 && (y.stride_w != 1 || x.stride_w != 1)) {  // into or out of an interleaved channel
    for_each_segment(y, [&](int64_t row, int64_t first, int64_t voxels) {
      float* const out = pointer(y, row, first);
      const float* const in = pointer(x, row, first);
      for (int64_t w = 0; w < voxels; ++w) out[w * y.stride_w] = in[w * x.stride_w];
    });
    return;
  }
  map_vectors([](Vec v) { return v; }, y, x);
}

void copy(View<uint8_t> y, View<const uint8_t> x, const Exec&) {
  map([](uint8_t v) { return v; }, y, x);
}

void cast(View<bfloat16> y, View<const float> x, const Exec&) {
  map([](float v) { return to_bfloat16(v); }, y, x);
}

void cast(View<float> y, View<const bfloat16> x, const Exec&) {
  map([](bfloat16 v) { return to_float(v); }, y, x);
}

void add(View<float> y, View<const float> a, View<const float> b, const Exec&) {
  map_vectors([](Vec u, Vec v) { return u + v; }, y, a, b);
}

void accumulate(View<float> y, View<const float> x, float factor, const Exec&) {
  map_vectors([factor](Vec u, Vec v) { return u + factor * v; }, y, View<const float>(y), x);
}

void scale(View<float> y, View<const float> x, float factor, const Exec&) {
  map_vectors([factor](Vec v) { return factor * v; }, y, x);
}

void multiply(View<float> y, View<const float> a, View<const float> b, const Exec&) {
  if (a.c == b.c) return map_vectors([](Vec u, Vec v) { return u * v; }, y, a, b);
  for_each_segment(y, [&](int64_t row, int64_t first, int64_t voxels) {
    for (int64_t w = first; w < first + voxels; ++w) {
      const float factor = *pointer(b, row, w);
      const float* const in = pointer(a, row, w);
      float* const out = pointer(y, row, w);
      for (int64_t c = 0; c < y.c; ++c) out[c] = in[c] * factor;
    }
  });
}

void multiply_backward(View<float> da, View<float> db, View<const float> dy, View<const float> a,
                       View<const float> b, const Exec&) {
  const bool broadcast_b = a.c != b.c;
  for_each_segment(dy, [&](int64_t row, int64_t first, int64_t voxels) {
    for (int64_t w = first; w < first + voxels; ++w) {
      const float *const g = pointer(dy, row, w), *const u = pointer(a, row, w),
                         *const v = pointer(b, row, w);
      float *const du = pointer(da, row, w), *const dv = pointer(db, row, w);
      float sum = 0;
      for (int64_t c = 0; c < dy.c; ++c) {
        const float gradient = g[c], factor = broadcast_b ? v[0] : v[c], product = gradient * u[c];
        if (broadcast_b) {
          sum += product;
        } else {
          dv[c] = product;
        }
        du[c] = gradient * factor;
      }
      if (broadcast_b) dv[0] = sum;
    }
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
