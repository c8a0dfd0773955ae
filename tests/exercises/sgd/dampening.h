// Exercise: dampening. Page: kernels/sgd/README.md.
#pragma once

#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::sgd {

/// SGD with momentum and dampening as PyTorch computes it, over `count` elements: b <- mu b + (1 - dampening)
/// g, but b <- g at the first step, when b may hold anything, NaN included; then p <- p - lr b. Updates
/// parameter and buffer in place.
inline void sgd_dampening(double* parameter, double* buffer, const double* gradient, int64_t count,
                          double learning_rate, double momentum, double dampening, bool first_step) {
  not_solved();
}

}  // namespace exercise::sgd
