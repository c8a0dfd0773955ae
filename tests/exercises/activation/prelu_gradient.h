// Exercise: the gradients of prelu, that of its slopes too. Page: kernels/activation/README.md, "Formula".
#pragma once

#include <vector>

#include "exercises/support/not_solved.h"

namespace exercise::activation {

/// y = x where x > 0, else slope x. x, dy and dx are [voxels][channels]; `slopes` has one slope for all
/// channels, or one a channel.
///
/// Overwrites dx; adds the gradient of the slopes to dslopes (as long as slopes), with sums in double. At 0
/// the derivative is that of the negative side; where x is NaN, dx is dy (PyTorch compares x > 0, the kernels
/// here x <= 0: which?).
///
/// Solved when: dx and dslopes are right, with something in dslopes before.
inline void prelu_backward(std::vector<float>& dx, std::vector<float>& dslopes, const std::vector<float>& dy,
                           const std::vector<float>& x, const std::vector<float>& slopes, int channels) {
  not_solved();
}

}  // namespace exercise::activation
