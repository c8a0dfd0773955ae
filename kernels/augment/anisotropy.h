// A volume that seems to have been taken with thicker slices.
#pragma once

#include "kernels/augment/volumes.h"

namespace vg::kernels {

struct AnisotropyParams {
  int axis = 0;            ///< 0, 1, 2: D, H, W
  float downsampling = 1;  ///< factor of the spacing, >= 1
};

/// Samples `axis` at `downsampling` times the spacing by nearest neighbour, and back by linear interpolation
/// (TorchIO 0.20.4 RandomAnisotropy: two Resample): both along one axis, so one filter along it.
void anisotropy(View<float> y, View<const float> x, const AnisotropyParams& params, const Exec& exec);

}  // namespace vg::kernels
