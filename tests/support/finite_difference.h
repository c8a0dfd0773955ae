// Numerical gradients in double, to check the oracles' own derivatives.
#pragma once

#include <vector>

namespace vg::test {

/// d loss() / d argument by central differences; `loss` reads `argument`, which is set back.
template <class Loss>
std::vector<double> finite_difference(std::vector<double>& argument, const Loss& loss, double step = 1e-6) {
  std::vector<double> gradient;
  for (double& value : argument) {
    const double before = value;
    value = before + step;
    const double above = loss();
    value = before - step;
    const double below = loss();
    value = before;
    gradient.push_back((above - below) / (2 * step));
  }
  return gradient;
}

}  // namespace vg::test
