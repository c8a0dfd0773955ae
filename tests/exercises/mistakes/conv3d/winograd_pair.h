// The direct way: six multiplications.
#pragma once

#include <array>

namespace exercise::conv3d {

inline std::array<float, 4> transform_taps(const std::array<float, 3>& g) {
  return {g[0], g[1], g[2], 0};
}

template <class Number>
std::array<Number, 2> winograd_pair(const std::array<Number, 4>& x,
                                    const std::array<Number, 4>& transformed) {
  return {x[0] * transformed[0] + x[1] * transformed[1] + x[2] * transformed[2],
          x[1] * transformed[0] + x[2] * transformed[1] + x[3] * transformed[2]};
}

}  // namespace exercise::conv3d
