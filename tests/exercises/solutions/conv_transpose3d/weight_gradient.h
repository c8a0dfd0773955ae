#pragma once

#include <cstddef>
#include <vector>

namespace exercise::conv_transpose3d {

// y is linear in w: the gradient of w[i, o, k] collects dy of each output that it reaches times the x it came
// with. That is the weight gradient of the convolution with stride 2 that maps y's space to x's, with x in
// the place of its dy.
inline void add_weight_gradient(std::vector<float>& dw, const std::vector<float>& dy,
                                const std::vector<float>& x, int inputs, int in, int out) {
  for (int i = 0; i < in; ++i) {
    for (int o = 0; o < out; ++o) {
      for (int k = 0; k < 3; ++k) {
        float sum = 0;
        for (int z = 0; z < inputs; ++z) {
          const int u = 2 * z - 1 + k;
          if (u < 0) continue;
          sum += x[static_cast<size_t>(z * in + i)] * dy[static_cast<size_t>(u * out + o)];
        }
        dw[static_cast<size_t>((i * out + o) * 3 + k)] += sum;
      }
    }
  }
}

}  // namespace exercise::conv_transpose3d
