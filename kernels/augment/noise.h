// Gaussian noise.
#pragma once

#include "kernels/augment/volumes.h"

namespace vg::kernels {

struct NoiseParams {
  float mean = 0, deviation = 0;
  uint64_t seed = 0;  ///< same seed, same noise
};

/// y = x + mean + deviation * (standard normal number of element i in [N, D, H, W] order, from Philox);
/// TorchIO Noise with another generator. y may be x.
void noise(View<float> y, View<const float> x, const NoiseParams& params, const Exec& exec);

}  // namespace vg::kernels
