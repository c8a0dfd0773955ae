// Exercise: softmax and its gradient at one voxel. Page: kernels/softmax/README.md, "Formula".
#pragma once

#include <vector>

#include "exercises/support/not_solved.h"

namespace exercise::softmax {

/// y_c = e^x_c / sum over k of e^x_k, in float, for logits of any size (1000, -1000): what may be subtracted?
inline std::vector<float> softmax(const std::vector<float>& x) {
  not_solved();
}

/// dx from dy and y alone. The matrix dy_c/dx_k has C^2 elements; one sum and one pass over C are enough.
inline std::vector<float> softmax_backward(const std::vector<float>& dy, const std::vector<float>& y) {
  not_solved();
}

}  // namespace exercise::softmax
