#pragma once

#include <cstddef>
#include <vector>

namespace exercise::activation {

inline void prelu_backward(std::vector<float>& dx, std::vector<float>& dslopes, const std::vector<float>& dy,
                           const std::vector<float>& x, const std::vector<float>& slopes, int channels) {
  std::vector<double> sums(slopes.size(), 0.0);
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t s = slopes.size() == 1 ? 0 : i % static_cast<size_t>(channels);
    const bool negative = x[i] <= 0;  // false for NaN
    dx[i] = negative ? slopes[s] * dy[i] : dy[i];
    if (negative) sums[s] += static_cast<double>(dy[i]) * x[i];
  }
  for (size_t s = 0; s < sums.size(); ++s) dslopes[s] += static_cast<float>(sums[s]);
}

}  // namespace exercise::activation
