#include "kernels/augment/gamma.h"

#include "kernels/augment/voxelwise.h"

namespace vg::kernels {

void gamma(View<float> y, View<const float> x, const GammaParams& params, const Exec& exec) {
  check_volumes("gamma", y, x);
  require(params.gamma > 0, "gamma: the exponent is ", params.gamma, ", expected more than 0");
  voxelwise(y, x, voxel::Gamma{params.gamma}, exec);
}

}  // namespace vg::kernels
