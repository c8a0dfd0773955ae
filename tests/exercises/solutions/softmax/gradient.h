#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace exercise::softmax {

inline std::vector<float> softmax(const std::vector<float>& x) {
  const float largest = *std::max_element(x.begin(), x.end());
  std::vector<float> y(x.size());
  float sum = 0;
  for (size_t c = 0; c < x.size(); ++c) sum += y[c] = std::exp(x[c] - largest);
  for (float& value : y) value /= sum;
  return y;
}

// dy_c/dx_k = y_c (delta_ck - y_k), so dx_k = sum over c of dy_c y_c (delta_ck - y_k) = y_k (dy_k - sum of
// dy_c y_c).
inline std::vector<float> softmax_backward(const std::vector<float>& dy, const std::vector<float>& y) {
  float dot = 0;
  for (size_t c = 0; c < y.size(); ++c) dot += dy[c] * y[c];
  std::vector<float> dx(y.size());
  for (size_t c = 0; c < y.size(); ++c) dx[c] = y[c] * (dy[c] - dot);
  return dx;
}

}  // namespace exercise::softmax
