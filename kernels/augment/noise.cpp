#include "kernels/augment/noise.h"

#include "kernels/augment/voxelwise.h"

namespace vg::kernels {

void noise(View<float> y, View<const float> x, const NoiseParams& params, const Exec& exec) {
  check_volumes("noise", y, x);
  require(params.deviation >= 0, "noise: the standard deviation is ", params.deviation,
          ", expected at least 0");
  voxelwise(y, x, voxel::Noise{params.mean, params.deviation, params.seed, x.d, x.h, x.w}, exec);
}

}  // namespace vg::kernels
