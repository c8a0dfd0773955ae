// Channels are exchanged, taps are not flipped.
#pragma once

#include <cstddef>
#include <vector>

namespace exercise::conv3d {

inline std::vector<float> input_gradient_weights(const std::vector<float>& w, int out, int in) {
  std::vector<float> v(w.size());
  for (int o = 0; o < out; ++o) {
    for (int i = 0; i < in; ++i) {
      for (int tap = 0; tap < 27; ++tap)
        v[static_cast<size_t>((i * out + o) * 27 + tap)] = w[static_cast<size_t>((o * in + i) * 27 + tap)];
    }
  }
  return v;
}

}  // namespace exercise::conv3d
