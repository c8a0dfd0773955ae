#pragma once

#include <cmath>
#include <cstdint>

namespace exercise::softmax {

// Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; also the core of flash
// attention.
template <class Logits>
float log_sum_exp(Logits& x, int64_t count) {
  float largest = x.load(0), sum = 1;
  for (int64_t c = 1; c < count; ++c) {
    const float value = x.load(c);
    if (value > largest) {
      sum = sum * std::exp(largest - value) + 1;
      largest = value;
    } else {
      sum += std::exp(value - largest);
    }
  }
  return largest + std::log(sum);
}

}  // namespace exercise::softmax
