// Taps 0 and 2 are exchanged: this is the convolution with flipped taps.
#pragma once

#include <vector>

namespace exercise::conv_transpose3d {

struct Tap {
  int input;
  int tap;
};

inline std::vector<Tap> taps_of(int u, int inputs) {
  if (u % 2 == 0) return {{u / 2, 1}};
  std::vector<Tap> taps{{(u - 1) / 2, 0}};
  if ((u + 1) / 2 < inputs) taps.push_back({(u + 1) / 2, 2});
  return taps;
}

}  // namespace exercise::conv_transpose3d
