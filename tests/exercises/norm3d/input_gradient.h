// Exercise: the input gradient of a normalisation. Page: kernels/norm3d/README.md, "Formula".
#pragma once

#include <vector>

#include "exercises/support/not_solved.h"

namespace exercise::norm3d {

struct Gradients {
  std::vector<double> dx;
  double dgamma = 0, dbeta = 0;
};

/// One group of M values: y = gamma (x - mean(x)) / sqrt(var(x) + eps) + beta, var the mean of (x - mean)^2.
///
/// Each x reaches the loss three ways: directly, through the mean, through the variance. On the page the
/// three add up to a form that needs two sums over the group, mean(dy) and mean(dy xhat), and one pass: write
/// that one.
///
/// Solved when: the gradients are the slopes of the loss, dx for x with a large mean too.
inline Gradients norm_backward(const std::vector<double>& dy, const std::vector<double>& x, double gamma,
                               double eps) {
  not_solved();
}

}  // namespace exercise::norm3d
