// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) over many tensors in one pass, as PyTorch
// computes them.
#pragma once

#include <span>

#include "kernels/common/exec.h"

namespace vg::kernels {

/// One parameter with its gradient and moments: flat arrays of `count` floats.
struct AdamTensor {
  float* parameter;
  const float* gradient;
  float* first_moment;
  float* second_moment;
  int64_t count;
};

/// In double, as PyTorch's are: 1 - beta2 in float would be off by 1e-5.
struct AdamParams {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool decoupled_weight_decay = false;  ///< AdamW
  int64_t step = 1;                     ///< counts from 1
};

/// The scalars of a step, computed once on the host in double and rounded once, as PyTorch does.
struct AdamFactors {
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size;         ///< learning rate / (1 - beta1^step)
  float bias_correction2;  ///< sqrt(1 - beta2^step)
  float eps;
  float l2;     ///< added to the gradient, times the parameter
  float decay;  ///< multiplies the parameter before the update (AdamW)
};

/// Throws std::invalid_argument if step < 1, a beta is outside [0, 1), or the learning rate, eps or weight
/// decay is negative or NaN.
AdamFactors adam_factors(const AdamParams& params);

/// Updates parameters and moments in place. `gradient_scale`: pointer to one float on the device by which
/// gradients are multiplied first (clipping without a pass of its own), or null for 1. `factors`: pointer to
/// the step's on the device, so that a captured graph of this call computes other steps as well. On CUDA one
/// launch for up to 512 tensors, without synchronisation. Throws std::invalid_argument if a pointer is null.
void adam_step(std::span<const AdamTensor> tensors, const float* gradient_scale, const AdamFactors* factors,
               const Exec& exec);

/// The same for one step; `params` as for adam_factors().
void adam_step(std::span<const AdamTensor> tensors, const float* gradient_scale, const AdamParams& params,
               const Exec& exec);

}  // namespace vg::kernels
