// The cross-entropy loss.
#pragma once

#include "engine/tensor.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace vg {

using kernels::CrossEntropyParams;

/// PyTorch's cross_entropy of logits [N, D, H, W, C] with class indices, a uint8 activation [N, D, H, W, 1].
/// class_weights: [C] or undefined. Returns [1].
Tensor cross_entropy_loss(const Tensor& logits, const Tensor& labels, const CrossEntropyParams& params = {},
                          const Tensor& class_weights = {});

}  // namespace vg
