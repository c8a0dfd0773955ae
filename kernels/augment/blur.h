// Gaussian blurring.
#pragma once

#include <array>

#include "kernels/augment/volumes.h"

namespace vg::kernels {

struct BlurParams {
  std::array<float, 3> deviation{};  ///< along D, H, W, in voxels
};

/// Gaussian kernels cut at 4 deviations and normalised, the volume mirrored at its faces (d c b a | a b c d):
/// scipy.ndimage.gaussian_filter as in TorchIO 0.20.4 Blur.
void blur(View<float> y, View<const float> x, const BlurParams& params, const Exec& exec);

}  // namespace vg::kernels
