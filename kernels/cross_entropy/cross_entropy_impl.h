#pragma once

#include "kernels/common/dispatch.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace vg::kernels {

VG_DECLARE_IMPLEMENTATIONS(void cross_entropy_forward(float* loss, float* weight_sum,
                                                      View<const float> logits, View<const uint8_t> labels,
                                                      const float* class_weights,
                                                      const CrossEntropyParams& params, const Exec& exec);
                           void cross_entropy_backward(View<float> dlogits, const float* dloss,
                                                       const float* weight_sum, View<const float> logits,
                                                       View<const uint8_t> labels, const float* class_weights,
                                                       const CrossEntropyParams& params, const Exec& exec);)

namespace cuda {
void cross_entropy_forward(float* loss, float* weight_sum, View<const bfloat16> logits,
                           View<const uint8_t> labels, const float* class_weights,
                           const CrossEntropyParams& params, const Exec& exec);
void cross_entropy_backward(View<bfloat16> dlogits, const float* dloss, const float* weight_sum,
                            View<const bfloat16> logits, View<const uint8_t> labels,
                            const float* class_weights, const CrossEntropyParams& params, const Exec& exec);
}  // namespace cuda

/// Overwrites loss and weight_sum from the sums over all voxels.
VG_INLINE void cross_entropy_finish(float* loss, float* weight_sum, double loss_total, double weight_total,
                                    const CrossEntropyParams& params) {
  weight_sum[0] = static_cast<float>(weight_total);
  loss[0] = static_cast<float>(params.mean ? loss_total / weight_total : loss_total);
}

}  // namespace vg::kernels
