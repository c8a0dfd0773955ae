// Rung 1 of the CPU: the formula as loops. Every output is one sum, every product looks up its input and its
// weight, and an if keeps the taps inside. Correct, and the measure of what follows.
#include "bench/ladder/conv3d/rungs.h"

namespace vg::ladder::cpu::VG_ISA {

void naive(View<float> y, View<const float> x, const float* weight, const Exec&) {
  const auto inside = [](int64_t i, int64_t extent) { return i >= 0 && i < extent; };
#pragma omp parallel for
  for (int64_t row = 0; row < y.rows(); ++row) {  // a row along W is the unit of work of every CPU rung
    const int64_t n = row / (y.d * y.h), d = row / y.h % y.d, h = row % y.h;
    for (int64_t w = 0; w < y.w; ++w) {
      for (int64_t o = 0; o < y.c; ++o) {
        float sum = 0;
        for (int kd = 0; kd < 3; ++kd) {
          for (int kh = 0; kh < 3; ++kh) {
            for (int kw = 0; kw < 3; ++kw) {
              const int64_t zd = d + kd - 1, zh = h + kh - 1, zw = w + kw - 1;
              if (!inside(zd, x.d) || !inside(zh, x.h) || !inside(zw, x.w)) continue;
              const float* const voxel = x.at(n, zd, zh, zw);
              // Weights of neighbouring i lie 27 floats apart: PyTorch's order is made for reading them by
              // hand, not by this loop.
              for (int64_t i = 0; i < x.c; ++i)
                sum += voxel[i] * weight[(o * x.c + i) * 27 + (kd * 3 + kh) * 3 + kw];
            }
          }
        }
        y.at(n, d, h, w)[o] = sum;
      }
    }
  }
}

}  // namespace vg::ladder::cpu::VG_ISA
