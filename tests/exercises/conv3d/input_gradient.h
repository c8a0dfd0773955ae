// Exercise: the input gradient of a convolution is a convolution. Page: kernels/conv3d/README.md.
#pragma once

#include <vector>

#include "exercises/support/not_solved.h"

namespace exercise::conv3d {

/// y = convolve(x, w): kernel 3, stride 1, padding 1, weights [out][in][3][3][3]:
///
///     y[z, o] = sum over k = (kd, kh, kw) and i of w[o, i, k] x[z - 1 + k, i]      x is 0 outside
///
/// Given dy, the gradient of y, the gradient of x is convolve(dy, v) with other weights v. Derive them (which
/// dy does x[u, i] reach, and by which tap?) and return them: [in][out][3][3][3], for dy has `out` channels
/// and dx has `in`.
///
/// Solved when: convolve(dy, v) is the gradient, to the bit, for integers.
inline std::vector<float> input_gradient_weights(const std::vector<float>& w, int out, int in) {
  not_solved();
}

}  // namespace exercise::conv3d
