// Overwrites where it should add.
#pragma once

#include <cstddef>
#include <vector>

namespace exercise::conv_transpose3d {

inline void add_weight_gradient(std::vector<float>& dw, const std::vector<float>& dy,
                                const std::vector<float>& x, int inputs, int in, int out) {
  for (int i = 0; i < in; ++i) {
    for (int o = 0; o < out; ++o) {
      for (int k = 0; k < 3; ++k) {
        float sum = 0;
        for (int z = k == 0 ? 1 : 0; z < inputs; ++z)
          sum += x[static_cast<size_t>(z * in + i)] * dy[static_cast<size_t>((2 * z - 1 + k) * out + o)];
        dw[static_cast<size_t>((i * out + o) * 3 + k)] = sum;
      }
    }
  }
}

}  // namespace exercise::conv_transpose3d
