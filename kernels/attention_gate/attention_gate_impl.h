#pragma once

#include "kernels/attention_gate/attention_gate.h"
#include "kernels/attention_gate/attention_gate_inference.h"
#include "kernels/common/dispatch.h"

namespace vg::kernels {

VG_DECLARE_IMPLEMENTATIONS(
    void attention_gate_forward(View<float> y, View<float> psi, const AttentionGateStatistics& statistics,
                                View<const float> g, View<const float> x, const AttentionGateWeights& weights,
                                const AttentionGateParams& params, const Exec& exec);
    void attention_gate_backward(View<float> dg, View<float> dx, const AttentionGateGradients& gradients,
                                 View<const float> dy, View<const float> psi,
                                 const AttentionGateStatistics& statistics, View<const float> g,
                                 View<const float> x, const AttentionGateWeights& weights,
                                 const AttentionGateParams& params, View<const float> dg_so_far,
                                 const Exec& exec);)

VG_DECLARE_CPU_IMPLEMENTATIONS(void attention_gate_inference(View<float> y, View<const float> g,
                                                             View<const float> x,
                                                             const FoldedGateWeights& weights,
                                                             const AttentionGateParams& params,
                                                             const Exec& exec);)

namespace cuda {
void attention_gate_forward(View<bfloat16> y, View<float> scores, const AttentionGateStatistics& statistics,
                            View<const bfloat16> g, View<const bfloat16> x,
                            const AttentionGateWeights& weights, const AttentionGateParams& params,
                            const Exec& exec);
void attention_gate_backward(View<bfloat16> dg, View<bfloat16> dx, const AttentionGateGradients& gradients,
                             View<const bfloat16> dy, View<const float> scores,
                             const AttentionGateStatistics& statistics, View<const bfloat16> g,
                             View<const bfloat16> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, View<const bfloat16> dg_so_far,
                             float* norm_sums, const Exec& exec);
}  // namespace cuda

}  // namespace vg::kernels
