// Pointwise activations and their gradients.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

enum class ActivationKind : uint8_t { identity, relu, leaky_relu, prelu, sigmoid };

struct ActivationParams {
  ActivationKind kind = ActivationKind::relu;
  float negative_slope = 0.01f;  ///< of leaky_relu
  int64_t slope_count = 1;       ///< of prelu: 1 slope for all channels, or one per channel
};

/// y = f(x); overwrites y; y may be x. `slope`: [slope_count] for prelu, else null. NaN stays NaN.
void activation_forward(View<float> y, View<const float> x, const float* slope,
                        const ActivationParams& params, const Exec& exec);

/// The same for bfloat16 activations, on CUDA only (throws std::invalid_argument on the CPU): computed in
/// float and rounded once, to nearest, ties to even.
void activation_forward(View<bfloat16> y, View<const bfloat16> x, const float* slope,
                        const ActivationParams& params, const Exec& exec);

/// dx = f'(x) * dy, overwrites dx (dx may be dy); dslope[slope_count] += sum of dy * min(x, 0), accumulates
/// (null if not prelu). The derivative at 0 is that of the negative side, as in PyTorch.
void activation_backward(View<float> dx, float* dslope, View<const float> dy, View<const float> x,
                         const float* slope, const ActivationParams& params, const Exec& exec);
void activation_backward(View<bfloat16> dx, float* dslope, View<const bfloat16> dy, View<const bfloat16> x,
                         const float* slope, const ActivationParams& params, const Exec& exec);

}  // namespace vg::kernels
