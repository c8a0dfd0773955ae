// Exercise: the weights of a cubic B-spline. Page: kernels/augment/README.md.
#pragma once

#include <array>

#include "exercises/support/not_solved.h"

namespace exercise::augment {

/// The four weights of a uniform cubic B-spline between two control points, t in [0, 1): the curve at point k
/// + t is the sum over i of weights[i] c[k - 1 + i]. They are not negative, add to one, and reproduce
/// straight lines exactly; the curve has a continuous second derivative. Elastic deformation blends 4 x 4 x 4
/// of them a voxel.
inline std::array<double, 4> spline_weights(double t) {
  not_solved();
}

}  // namespace exercise::augment
