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

struct AdamParams {
  float learning_rate = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0;
  bool decoupled_weight_decay = false;  ///< AdamW
  int64_t step = 1;                     ///< counts from 1
};

/// Updates parameters and moments in place. `gradient_scale`: device pointer to one float by which gradients
/// are multiplied first (clipping without a pass of its own), or null for 1. On CUDA one launch for all
/// tensors.
void adam_step(std::span<const AdamTensor> tensors, const float* gradient_scale, const AdamParams& params,
               const Exec& exec);

}  // namespace vg::kernels
