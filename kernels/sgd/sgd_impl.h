#pragma once

#include "kernels/common/dispatch.h"
#include "kernels/sgd/sgd.h"

namespace vg::kernels {

/// One element without momentum, in the order of torch.optim.SGD (_single_tensor_sgd).
VG_INLINE void sgd_update(float& parameter, float gradient, const SgdFactors& f) {
  const float g = gradient + f.l2 * parameter;
  parameter -= f.learning_rate * g;
}

/// One element with momentum; dampening is 0.
VG_INLINE void sgd_update(float& parameter, float gradient, float& buffer, const SgdFactors& f) {
  const float g = gradient + f.l2 * parameter;
  const float b = f.first_step ? g : f.momentum * buffer + g;
  buffer = b;
  parameter -= f.learning_rate * (f.nesterov ? g + f.momentum * b : b);
}

VG_DECLARE_IMPLEMENTATIONS(void sgd_step(const SgdTensor* tensors, int64_t tensor_count,
                                         const float* gradient_scale, const SgdFactors* factors,
                                         const Exec& exec);)

}  // namespace vg::kernels
