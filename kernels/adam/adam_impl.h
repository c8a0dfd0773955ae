#pragma once

#include <cmath>

#include "kernels/adam/adam.h"
#include "kernels/common/dispatch.h"

namespace vg::kernels {

/// One element, in the order of torch.optim.Adam (_single_tensor_adam, _single_tensor_adamw).
VG_INLINE void adam_update(float& parameter, float gradient, float& first_moment, float& second_moment,
                           const AdamFactors& f) {
  const float decayed = parameter * f.decay;
  const float g = gradient + f.l2 * parameter;
  const float m = f.beta1 * first_moment + f.one_minus_beta1 * g;
  const float v = f.beta2 * second_moment + f.one_minus_beta2 * g * g;
  first_moment = m;
  second_moment = v;
  const float denominator = std::sqrt(v) / f.bias_correction2 + f.eps;
  parameter = decayed - f.step_size * m / denominator;
}

VG_DECLARE_IMPLEMENTATIONS(void adam_step(const AdamTensor* tensors, int64_t tensor_count,
                                          const float* gradient_scale, const AdamFactors* factors,
                                          const Exec& exec);)

}  // namespace vg::kernels
