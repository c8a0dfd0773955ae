// Catmull and Rom's spline, which passes through its points.
#pragma once

#include <array>

namespace exercise::augment {

inline std::array<double, 4> spline_weights(double t) {
  const double u = 1 - t;
  return {-t * u * u / 2, 1 - 2.5 * t * t + 1.5 * t * t * t, 1 - 2.5 * u * u + 1.5 * u * u * u,
          -u * t * t / 2};
}

}  // namespace exercise::augment
