#pragma once

#include "kernels/activation/activation.h"
#include "kernels/common/dispatch.h"

namespace vg::kernels {

VG_DECLARE_IMPLEMENTATIONS(void activation_forward(View<float> y, View<const float> x, const float* slope,
                                                   const ActivationParams& params, const Exec& exec);
                           void activation_backward(View<float> dx, float* dslope, View<const float> dy,
                                                    View<const float> x, const float* slope,
                                                    const ActivationParams& params, const Exec& exec);)

/// Throws unless `slope` is there exactly when the activation is prelu, with 1 or `channels` slopes.
void require_valid_slope(const char* function, const float* slope, const ActivationParams& params,
                         int64_t channels);

}  // namespace vg::kernels
