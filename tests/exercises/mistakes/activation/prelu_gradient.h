// Takes x >= 0 for the positive side, and sums slopes in float.
#pragma once

#include <cstddef>
#include <vector>

namespace exercise::activation {

inline void prelu_backward(std::vector<float>& dx, std::vector<float>& dslopes, const std::vector<float>& dy,
                           const std::vector<float>& x, const std::vector<float>& slopes, int channels) {
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t s = slopes.size() == 1 ? 0 : i % static_cast<size_t>(channels);
    dx[i] = x[i] >= 0 ? dy[i] : slopes[s] * dy[i];
    if (x[i] < 0) dslopes[s] += dy[i] * x[i];
  }
}

}  // namespace exercise::activation
