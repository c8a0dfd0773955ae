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

/// In double, as PyTorch's are.
struct SgdParams {
  double learning_rate = 1e-2;
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
  bool first_step = false;  ///< the momentum buffer is set to the gradient, whatever it held
};

/// Updates parameters and buffers in place; `gradient_scale` as in adam_step. On CUDA one launch for up to
/// 512 tensors, without synchronisation; it can be captured. Throws std::invalid_argument if the learning
/// rate, momentum or weight decay is negative or NaN, if nesterov lacks momentum, or if a pointer is null.
void sgd_step(std::span<const SgdTensor> tensors, const float* gradient_scale, const SgdParams& params,
              const Exec& exec);

}  // namespace vg::kernels
