// Exercise: mean and variance of two parts from those of each. Page: kernels/norm3d/README.md, "Memory
// picture".
#pragma once

#include "exercises/support/not_solved.h"

namespace exercise::norm3d {

/// Of `count` values: their mean, and the sum of (value - mean)^2.
struct Moments {
  float count = 0, mean = 0, squares = 0;
};

/// The moments of the values of a and b together, in float. Threads sum their shares; then shares are merged
/// in pairs, in a fixed order. Sums of x and of x^2 would be simpler, but mean(x^2) - mean(x)^2 is rounding
/// where the mean is large beside the deviation: here they must be moved from a's and b's mean to the common
/// one.
///
/// Solved when: right for parts of any size, empty ones too, and good to 1e-3 where the mean is 10^4
/// deviations.
inline Moments merge(const Moments& a, const Moments& b) {
  not_solved();
}

}  // namespace exercise::norm3d
