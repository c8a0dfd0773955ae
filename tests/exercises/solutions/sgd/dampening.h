#pragma once

#include <cstdint>

namespace exercise::sgd {

inline void sgd_dampening(double* parameter, double* buffer, const double* gradient, int64_t count,
                          double learning_rate, double momentum, double dampening, bool first_step) {
  for (int64_t i = 0; i < count; ++i) {
    buffer[i] = first_step ? gradient[i] : momentum * buffer[i] + (1 - dampening) * gradient[i];
    parameter[i] -= learning_rate * buffer[i];
  }
}

}  // namespace exercise::sgd
