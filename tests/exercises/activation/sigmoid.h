// Exercise: a sigmoid that never overflows, and its gradient from the output. Page:
// kernels/activation/README.md.
#pragma once

#include "exercises/support/not_solved.h"

namespace exercise::activation {

/// 1 / (1 + e^-x), in float. `exponential` is the only way to e^x, and it counts; it overflows to infinity
/// above 88.7.
///
/// Solved when: right to a few units in the last place for all x, with one exponential, and no infinity on
/// the way, i.e. the exponential is taken of numbers <= 0 alone. For x = -80 the result is 1.8e-35, not 0.
template <class Exponential>
float sigmoid(float x, const Exponential& exponential) {
  not_solved();
}

/// dL/dx from dy = dL/dy and y = sigmoid(x): without x, and without another exponential.
inline float sigmoid_backward(float dy, float y) {
  not_solved();
}

}  // namespace exercise::activation
