// Cross-entropy of softmax(logits) with class indices (PyTorch's cross_entropy over voxels).
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

struct CrossEntropyParams {
  bool mean = true;  ///< divide by the sum of the voxels' class weights (PyTorch's `mean`); false: `sum`
};

/// loss[1] = sum of w[label] * (logsumexp(logits) - logits[label]) (/ weight_sum); overwrites loss and
/// weight_sum[1] (kept for backward). logits: [N,D,H,W,C], at most 256 channels; labels: [N,D,H,W,1];
/// class_weights: [C] or null. A voxel whose label is not below C contributes to neither sum (PyTorch's
/// ignore_index); if no voxel contributes, the mean is NaN, as in PyTorch. Same bits for any thread count.
void cross_entropy_forward(float* loss, float* weight_sum, View<const float> logits,
                           View<const uint8_t> labels, const float* class_weights,
                           const CrossEntropyParams& params, const Exec& exec);

/// dlogits = dloss[0] * w[label] * (softmax - onehot) (/ weight_sum), 0 where the label is not below C;
/// overwrites dlogits.
void cross_entropy_backward(View<float> dlogits, const float* dloss, const float* weight_sum,
                            View<const float> logits, View<const uint8_t> labels, const float* class_weights,
                            const CrossEntropyParams& params, const Exec& exec);

/// The same for bfloat16 activations, on CUDA only: computed in float; dlogits is rounded once.
void cross_entropy_forward(float* loss, float* weight_sum, View<const bfloat16> logits,
                           View<const uint8_t> labels, const float* class_weights,
                           const CrossEntropyParams& params, const Exec& exec);
void cross_entropy_backward(View<bfloat16> dlogits, const float* dloss, const float* weight_sum,
                            View<const bfloat16> logits, View<const uint8_t> labels,
                            const float* class_weights, const CrossEntropyParams& params, const Exec& exec);

}  // namespace vg::kernels
