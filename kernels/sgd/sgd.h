// Stochastic gradient descent with momentum and Nesterov momentum, as PyTorch computes it, over many tensors
// in one pass.
#pragma once

#include <span>

#include "kernels/common/exec.h"

namespace vg::kernels {

struct SgdTensor {
  float* parameter;
  const float* gradient;
  float* momentum_buffer;  ///< null if momentum is 0
  int64_t count;
};

struct SgdParams {
  float learning_rate = 1e-2f;
  float momentum = 0;
  bool nesterov = false;
  float weight_decay = 0;
  bool first_step = false;  ///< the momentum buffer is set to the gradient
};

/// Updates parameters and buffers in place; `gradient_scale` as in adam_step.
void sgd_step(std::span<const SgdTensor> tensors, const float* gradient_scale, const SgdParams& params,
              const Exec& exec);

}  // namespace vg::kernels
