#pragma once

#include <cstddef>
#include <vector>

namespace exercise::conv3d {

// x[u] reaches y[z] by tap k if u = z - 1 + k, so z = u + 1 - k. With k' = 2 - k this is z = u - 1 + k': the
// tap k' of a convolution of dy. So v[i, o, k'] = w[o, i, 2 - k'], along each axis; 2 - k along all three
// axes is 26 - tap.
inline std::vector<float> input_gradient_weights(const std::vector<float>& w, int out, int in) {
  std::vector<float> v(w.size());
  for (int o = 0; o < out; ++o) {
    for (int i = 0; i < in; ++i) {
      for (int tap = 0; tap < 27; ++tap) {
        v[static_cast<size_t>((i * out + o) * 27 + tap)] =
            w[static_cast<size_t>((o * in + i) * 27 + 26 - tap)];
      }
    }
  }
  return v;
}

}  // namespace exercise::conv3d
