// Exercise: the weight gradient of a transposed convolution. Page: kernels/conv_transpose3d/README.md,
// "Formula".
#pragma once

#include <vector>

#include "exercises/support/not_solved.h"

namespace exercise::conv_transpose3d {

/// One axis: y[2 z - 1 + k, o] += w[i, o, k] x[z, i] for z = 0 .. inputs - 1 and k = 0, 1, 2, outputs 0 .. 2
/// inputs - 1. x is [inputs][in], dy [2 inputs][out], dw [in][out][3], the order of PyTorch's ConvTranspose:
/// `in` first.
///
/// Adds the gradient of w to dw: parameter gradients accumulate, here as everywhere. Compare with the weight
/// gradient of a convolution: which of x and dy plays which role?
///
/// Solved when: dw is right to the bit for integers, with something in it before.
inline void add_weight_gradient(std::vector<float>& dw, const std::vector<float>& dy,
                                const std::vector<float>& x, int inputs, int in, int out) {
  not_solved();
}

}  // namespace exercise::conv_transpose3d
