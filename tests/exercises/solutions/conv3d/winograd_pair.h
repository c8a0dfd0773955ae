#pragma once

#include <array>

namespace exercise::conv3d {

inline std::array<float, 4> transform_taps(const std::array<float, 3>& g) {
  return {g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2]};
}

template <class Number>
std::array<Number, 2> winograd_pair(const std::array<Number, 4>& x,
                                    const std::array<Number, 4>& transformed) {
  const Number m0 = (x[0] - x[2]) * transformed[0];
  const Number m1 = (x[1] + x[2]) * transformed[1];
  const Number m2 = (x[2] - x[1]) * transformed[2];
  const Number m3 = (x[3] - x[1]) * transformed[3];
  return {m0 + m1 + m2, m1 - m2 + m3};
}

}  // namespace exercise::conv3d
