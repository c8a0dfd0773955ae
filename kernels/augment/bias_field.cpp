#include "kernels/augment/bias_field.h"

#include <algorithm>

#include "kernels/augment/voxelwise.h"

namespace vg::kernels {

void bias_field(View<float> y, View<const float> x, const BiasFieldParams& params, const Exec& exec) {
  check_volumes("bias_field", y, x);
  require(params.order >= 0 && params.order <= largest_bias_field_order, "bias_field: the order is ",
          params.order, ", expected 0 to ", largest_bias_field_order);
  const auto expected = static_cast<size_t>(bias_field_coefficients(params.order));
  require(params.coefficients.size() == expected, "bias_field: ", params.coefficients.size(),
          " coefficients, expected ", expected, " for order ", params.order);
  voxel::BiasField field{};
  field.order = params.order;
  std::copy(params.coefficients.begin(), params.coefficients.end(), field.coefficients);
  const int64_t extents[] = {x.d, x.h, x.w};
  for (int axis = 0; axis < 3; ++axis) {
    field.centre[axis] = static_cast<double>(extents[axis] - 1) / 2;
    field.scale[axis] = extents[axis] > 1 ? 1 / field.centre[axis] : 0;
  }
  voxelwise(y, x, field, exec);
}

}  // namespace vg::kernels
