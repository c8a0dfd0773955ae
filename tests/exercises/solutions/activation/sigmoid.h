#pragma once

namespace exercise::activation {

// With u = e^-|x|: 1 / (1 + u) for x >= 0; for x < 0 numerator and denominator are multiplied by e^x: u / (1
// + u).
template <class Exponential>
float sigmoid(float x, const Exponential& exponential) {
  const float u = exponential(x < 0 ? x : -x);
  return (x < 0 ? u : 1) / (1 + u);
}

inline float sigmoid_backward(float dy, float y) {
  return dy * y * (1 - y);
}

}  // namespace exercise::activation
