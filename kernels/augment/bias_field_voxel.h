#pragma once

#include "kernels/augment/bias_field.h"
#include "kernels/augment/voxel_math.h"

namespace vg::kernels::voxel {

struct BiasField {
  int order;
  float coefficients[bias_field_coefficients(largest_bias_field_order)];  // as in BiasFieldParams
  double centre[3], scale[3];  // along D, H, W: coordinate = (index - centre) * scale

  // The polynomial in w that is left where d and h are known.
  struct Row {
    int order;
    float polynomial[largest_bias_field_order + 1];
    float centre, scale;

    template <class V>
    VG_INLINE V operator()(V x, V w) const {
      const V coordinate = (w - centre) * scale;
      V exponent{};
      for (int c = order; c >= 0; --c) exponent = exponent * coordinate + polynomial[c];
      return x * exp(exponent);
    }
  };
  VG_INLINE Row row(int64_t, int64_t d, int64_t h) const {
    const double u = (static_cast<double>(d) - centre[0]) * scale[0],
                 v = (static_cast<double>(h) - centre[1]) * scale[1];
    double sums[largest_bias_field_order + 1] = {};
    double power_u = 1;
    const float* coefficient = coefficients;
    for (int a = 0; a <= order; ++a, power_u *= u) {
      double power = power_u;
      for (int b = 0; b <= order - a; ++b, power *= v) {
        for (int c = 0; c <= order - a - b; ++c) sums[c] += power * static_cast<double>(*coefficient++);
      }
    }
    Row result{order, {}, static_cast<float>(centre[2]), static_cast<float>(scale[2])};
    for (int c = 0; c <= order; ++c) result.polynomial[c] = static_cast<float>(sums[c]);
    return result;
  }
};

}  // namespace vg::kernels::voxel
