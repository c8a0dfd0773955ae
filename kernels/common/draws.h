// Random draws four at a time, as the counter-based generator makes them, on both devices.
#pragma once

#include "kernels/common/philox.h"

namespace vg::kernels {

/// Elements 4 * counter to 4 * counter + 3 of a draw.
struct Draw4 {
  float values[4];
};

/// Uniform in [0, 1): what philox_uniform gives for these elements.
struct UniformDraw {
  uint64_t seed, offset;
  VG_INLINE Draw4 operator()(int64_t counter) const {
    const Uint4 r = philox(seed, static_cast<uint64_t>(counter), offset);
    return {{uniform_from_bits(r.x), uniform_from_bits(r.y), uniform_from_bits(r.z), uniform_from_bits(r.w)}};
  }
};

/// Standard normal, from two pairs of uniform numbers (Box and Muller 1958). 1 - u is in (0, 1], so its
/// logarithm is finite; no number is beyond sqrt(-2 ln 2^-24) = 5.77.
struct NormalDraw {
  uint64_t seed, offset;
  VG_INLINE Draw4 operator()(int64_t counter) const {
    Draw4 u = UniformDraw{seed, offset}(counter);
    for (int i = 0; i < 4; i += 2) {
      const float radius = sqrtf(-2.0f * logf(1.0f - u.values[i]));
      const float angle = 6.28318530717958647692f * u.values[i + 1];
      u.values[i] = radius * cosf(angle);
      u.values[i + 1] = radius * sinf(angle);
    }
    return u;
  }
};

}  // namespace vg::kernels

#ifdef VG_ISA  // only within *_cpu.cpp

#include "kernels/common/map.h"

namespace vg::kernels::cpu::VG_ISA {

/// y[i] = f(draw(i / 4)[i % 4], x[i]...) over all elements i in [N,D,H,W,C] order.
template <class Draw, class F, class... X>
inline void map_draws(const Draw& draw, const F& f, const View<float>& y, const View<X>&... x) {
  const bool runs = y.rows_contiguous() && (x.rows_contiguous() && ...);
  for_each_segment(y, [&](int64_t row, int64_t first, int64_t voxels) {
    const int64_t pieces = runs ? 1 : voxels, length = runs ? voxels * y.c : y.c;
    for (int64_t piece = 0; piece < pieces; ++piece) {
      float* const out = pointer(y, row, first + piece);
      const int64_t begin = (row * y.w + first + piece) * y.c;  // anywhere within a counter's four
      [&](const X*... in) {
        for (int64_t i = 0; i < length;) {
          const Draw4 four = draw((begin + i) / 4);
          for (int64_t lane = (begin + i) % 4; lane < 4 && i < length; ++lane, ++i)
            out[i] = f(four.values[lane], in[i]...);
        }
      }(pointer(x, row, first + piece)...);
    }
  });
}

}  // namespace vg::kernels::cpu::VG_ISA

#endif
