// The register tile that slides along W: the idea of rung 4 of the CPU, and what Winograd (rung 5) multiplies
// with.
//
// Input x[j] meets three outputs: y[j] with tap 0, y[j - 1] with tap 1, y[j - 2] with tap 2 (j counts from
// the leftmost input). Broadcast once, it is used for all three: for an input channel and a row of taps 3
// loads of weights and 22 broadcasts feed 60 FMAs, where rung 3 took 63 loads.
#pragma once

#include "kernels/common/simd.h"

namespace vg::ladder::cpu::VG_ISA {

using namespace kernels::cpu::VG_ISA;

/// With three vectors of weights and a broadcast they fit into 32 or 16 registers.
inline constexpr int sliding_width = lanes == 16 ? 20 : 10;

/// y[j][o ..] = sum over rows, i, kw of rows[row][j + kw][i] * weights[row][i][kw][o ..] for j < Width.
/// rows[row] is the leftmost input of the first output; neighbouring voxels lie x_stride and y_stride floats
/// apart; `weights` starts at the first of the `lanes` output channels, `out` is how many there are in all.
template <int Width>
VG_INLINE void sliding_tile(float* y, int64_t y_stride, const float* const* rows, int count, int64_t x_stride,
                            int64_t in, const float* weights, int64_t out) {
  Vec sum[Width]{};
  for (int row = 0; row < count; ++row) {
#pragma GCC unroll 1
    for (int64_t i = 0; i < in; ++i, weights += 3 * out) {
      const Vec w0 = load(weights), w1 = load(weights + out), w2 = load(weights + 2 * out);
      const float* input = rows[row] + i;
#pragma GCC unroll 22
      for (int j = 0; j < Width + 2; ++j, input += x_stride) {
        const Vec v = broadcast(*input);
        if (j >= 2) sum[j - 2] += w2 * v;
        if (j >= 1 && j - 1 < Width) sum[j - 1] += w1 * v;
        if (j < Width) sum[j] += w0 * v;
      }
    }
  }
#pragma GCC unroll 20
  for (int j = 0; j < Width; ++j) store(y + j * y_stride, sum[j]);
}

/// A whole row of `width` outputs, all output channels.
VG_INLINE void sliding_row(float* y, int64_t y_stride, int64_t width, const float* const* rows, int count,
                           int64_t x_stride, int64_t in, const float* weights, int64_t out) {
  for (int64_t o = 0; o < out; o += lanes) {
    for (int64_t w = 0; w < width;) {
      const float* inputs[9];
      for (int row = 0; row < count; ++row) inputs[row] = rows[row] + w * x_stride;
      float* const to = y + w * y_stride + o;
      if (w + sliding_width <= width) {
        sliding_tile<sliding_width>(to, y_stride, inputs, count, x_stride, in, weights + o, out);
        w += sliding_width;
      } else {
        sliding_tile<1>(to, y_stride, inputs, count, x_stride, in, weights + o, out);
        ++w;
      }
    }
  }
}

}  // namespace vg::ladder::cpu::VG_ISA
