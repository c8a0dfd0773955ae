#pragma once

#include <vector>

namespace exercise::conv_transpose3d {

struct Tap {
  int input;
  int tap;
};

// u = 2 z - 1 + k: k has the parity of u + 1. Even u: k = 1 from z = u / 2. Odd u: k = 2 from z = (u - 1) / 2
// and k = 0 from z = (u + 1) / 2, which the last output does not have.
inline std::vector<Tap> taps_of(int u, int inputs) {
  if (u % 2 == 0) return {{u / 2, 1}};
  std::vector<Tap> taps{{(u - 1) / 2, 2}};
  if ((u + 1) / 2 < inputs) taps.push_back({(u + 1) / 2, 0});
  return taps;
}

}  // namespace exercise::conv_transpose3d
