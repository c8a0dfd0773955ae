// Slowly varying brightness, as inhomogeneous coils leave it.
#pragma once

#include <vector>

#include "kernels/augment/volumes.h"

namespace vg::kernels {

/// Of a polynomial in three variables.
constexpr int bias_field_coefficients(int order) {
  return (order + 1) * (order + 2) * (order + 3) / 6;
}
inline constexpr int largest_bias_field_order = 7;

struct BiasFieldParams {
  int order = 3;  ///< 0 to largest_bias_field_order
  /// Of d^a h^b w^c for a = 0..order, b = 0..order-a, c = 0..order-a-b, the last fastest: 20 for order 3.
  std::vector<float> coefficients;
};

/// y = x * exp(polynomial in d, h, w), each coordinate running from -1 to 1 between the outermost voxels'
/// centres (TorchIO 0.20.4 BiasField; Van Leemput et al. 1999). An axis of one voxel lies at 0. Throws
/// std::invalid_argument for another order or number of coefficients. y may be x.
void bias_field(View<float> y, View<const float> x, const BiasFieldParams& params, const Exec& exec);

}  // namespace vg::kernels
