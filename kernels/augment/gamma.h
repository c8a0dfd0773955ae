// Change of contrast by a power.
#pragma once

#include "kernels/augment/volumes.h"

namespace vg::kernels {

struct GammaParams {
  float gamma = 1;  ///< positive
};

/// y = sign(x) |x|^gamma (TorchIO 0.20.4 Gamma). y may be x. Throws std::invalid_argument unless gamma is
/// positive.
void gamma(View<float> y, View<const float> x, const GammaParams& params, const Exec& exec);

}  // namespace vg::kernels
