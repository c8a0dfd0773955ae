#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace exercise::augment {

inline void ghosting_matrix(double* matrix, const double* factors, int64_t length) {
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j < length; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < length; ++p) {
        const int64_t turns = (p - length / 2) * (i - j) % length;
        sum += factors[p] *
               std::cos(2 * std::numbers::pi * static_cast<double>(turns) / static_cast<double>(length));
      }
      matrix[i * length + j] = sum / static_cast<double>(length);
    }
  }
}

}  // namespace exercise::augment
