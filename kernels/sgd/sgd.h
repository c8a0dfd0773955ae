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

/// The scalars of a step, rounded to float once, as PyTorch does.
struct SgdFactors {
  float learning_rate, momentum, l2;
  bool nesterov, first_step;
};

/// Throws std::invalid_argument if the learning rate, momentum or weight decay is negative or NaN, or if
/// nesterov lacks momentum.
SgdFactors sgd_factors(const SgdParams& params);

/// Updates parameters and buffers in place; `gradient_scale` and `factors` as in adam_step. On CUDA one
/// launch for up to 512 tensors, without synchronisation. Throws std::invalid_argument if a pointer is null;
/// `with_momentum`: buffers are expected.
void sgd_step(std::span<const SgdTensor> tensors, const float* gradient_scale, const SgdFactors* factors,
              bool with_momentum, const Exec& exec);

/// The same for one step; `params` as for sgd_factors().
void sgd_step(std::span<const SgdTensor> tensors, const float* gradient_scale, const SgdParams& params,
              const Exec& exec);

}  // namespace vg::kernels
