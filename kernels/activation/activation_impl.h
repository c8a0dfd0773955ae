#pragma once

#include "kernels/activation/activation.h"
#include "kernels/common/dispatch.h"

namespace vg::kernels {

VG_DECLARE_CPU_IMPLEMENTATIONS(void activation_forward(View<float> y, View<const float> x, const float* slope,
                                                       const ActivationParams& params, const Exec& exec);
                               void activation_backward(View<float> dx, float* dslope, View<const float> dy,
                                                        View<const float> x, const float* slope,
                                                        const ActivationParams& params, const Exec& exec);)

// T is float or bfloat16.
namespace cuda {
template <class T>
void activation_forward(View<T> y, View<const T> x, const float* slope, const ActivationParams& params,
                        const Exec& exec);
template <class T>
void activation_backward(View<T> dx, float* dslope, View<const T> dy, View<const T> x, const float* slope,
                         const ActivationParams& params, const Exec& exec);
}  // namespace cuda

/// Throws unless `slope` is there exactly when the activation is prelu, with 1 or `channels` slopes.
void require_valid_slope(const char* function, const float* slope, const ActivationParams& params,
                         int64_t channels);

}  // namespace vg::kernels
