#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace exercise::norm3d {

struct Gradients {
  std::vector<double> dx;
  double dgamma = 0, dbeta = 0;
};

inline Gradients norm_backward(const std::vector<double>& dy, const std::vector<double>& x, double gamma,
                               double eps) {
  const auto count = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (const double v : x) mean += v / count;
  for (const double v : x) variance += (v - mean) * (v - mean) / count;
  const double s = 1 / std::sqrt(variance + eps);

  Gradients result;
  for (size_t i = 0; i < x.size(); ++i) {
    result.dbeta += dy[i];
    result.dgamma += dy[i] * (x[i] - mean) * s;
  }
  for (size_t i = 0; i < x.size(); ++i) {
    const double xhat = (x[i] - mean) * s;
    result.dx.push_back(gamma * s * (dy[i] - result.dbeta / count - xhat * result.dgamma / count));
  }
  return result;
}

}  // namespace exercise::norm3d
