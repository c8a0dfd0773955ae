#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace exercise::cross_entropy {

inline double focal_loss(double* dx, const double* x, int64_t label, double gamma, int64_t channels) {
  const double largest = *std::max_element(x, x + channels);
  double sum = 0, others = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const double e = std::exp(x[c] - largest);
    sum += e;
    if (c != label) others += e;
  }
  // 1 - p is summed, not subtracted: p near 1 keeps its digits
  const double log_p = x[label] - largest - std::log(sum), p = std::exp(log_p), q = others / sum;
  const double power = std::pow(q, gamma);
  // dloss/dp times p: the softmax's gradient is p (onehot - y)
  const double slope = (gamma > 0 && q > 0 ? gamma * power / q * log_p * p : 0) - power;
  for (int64_t c = 0; c < channels; ++c)
    dx[c] = c == label ? slope * q : -slope * std::exp(x[c] - largest) / sum;
  return -power * log_p;
}

}  // namespace exercise::cross_entropy
