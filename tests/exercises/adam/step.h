// Exercise: Adam's step in float, with the rounding of its constants in mind. Page: kernels/adam/README.md,
// "Formula".
#pragma once

#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::adam {

struct Options {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0;  ///< decoupled from the gradient, as in AdamW
};

/// What is the same for all elements of a step, computed in double and rounded once: choose the fields that
/// the loop needs.
struct Factors {};

/// Of step `step` = 1, 2, ..
inline Factors factors_of(const Options& options, int64_t step) {
  not_solved();
}

/// One element: updates the parameter p and its moments m and v with gradient g, all float. At most one
/// division and one root; no pow.
///
/// Solved when: 1000 steps follow the formula in double to 1e-6 of the way gone and 3e-8 a step; the moments
/// are those of the exact 1 - beta2 (0.001, of which 1 - 0.999f misses 1.3e-5); AdamW shrinks p before the
/// step.
inline void adamw_element(float& p, float& m, float& v, float g, const Factors& factors) {
  not_solved();
}

}  // namespace exercise::adam
