#pragma once

namespace exercise {

/// Central difference of f() with respect to `variable`, which f reads; leaves it as it was.
template <class F>
double derivative(double& variable, const F& f) {
  const double at = variable, step = 1e-5;
  variable = at + step;
  const double above = f();
  variable = at - step;
  const double below = f();
  variable = at;
  return (above - below) / (2 * step);
}

}  // namespace exercise
