// The formula as it stands: e^-x overflows for x = -100.
#pragma once

namespace exercise::activation {

template <class Exponential>
float sigmoid(float x, const Exponential& exponential) {
  return 1 / (1 + exponential(-x));
}

inline float sigmoid_backward(float dy, float y) {
  return dy * y * (1 - y);
}

}  // namespace exercise::activation
