#pragma once

#include <cmath>
#include <cstdint>

namespace exercise::attention_gate {

inline double attend_backward(double* dx, const double* dy, const double* x, double score, int64_t channels) {
  const double psi = 1 / (1 + std::exp(-score));
  double dpsi = 0;
  for (int64_t c = 0; c < channels; ++c) {
    dx[c] = dy[c] * psi;
    dpsi += dy[c] * x[c];
  }
  return dpsi * psi * (1 - psi);
}

}  // namespace exercise::attention_gate
