// The attention gate on tensor cores, for bfloat16 activations on CUDA.
#pragma once

#include "kernels/attention_gate/attention_gate.h"

namespace vg::kernels::cuda {

/// y of attention_gate_forward() from the scores that it has left, and psi's statistics. Overwrites y.
void attention_gate_attend(View<bfloat16> y, View<const bfloat16> x, View<const float> scores,
                           const AttentionGateStatistics& statistics, const AttentionGateWeights& weights,
                           const AttentionGateParams& params, const Exec& exec);

/// True if the tensor cores take these arguments: compute capability 8.0 or later; as many channels of g as
/// of x (16, 32, 64 or 128) and half as many between; voxels at multiples of 16 bytes in all `views`.
bool attention_gate_tensor_applies(const AttentionGateParams& params,
                                   std::initializer_list<View<const bfloat16>> views);

/// attention_gate_forward and _backward where attention_gate_tensor_applies().
void attention_gate_forward_tensor(View<bfloat16> y, View<float> scores,
                                   const AttentionGateStatistics& statistics, View<const bfloat16> g,
                                   View<const bfloat16> x, const AttentionGateWeights& weights,
                                   const AttentionGateParams& params, const Exec& exec);
/// attention_gate_attend() likewise.
void attention_gate_attend_tensor(View<bfloat16> y, View<const bfloat16> x, View<const float> scores,
                                  const AttentionGateStatistics& statistics,
                                  const AttentionGateWeights& weights, const AttentionGateParams& params,
                                  const Exec& exec);
void attention_gate_backward_tensor(View<bfloat16> dg, View<bfloat16> dx,
                                    const AttentionGateGradients& gradients, View<const bfloat16> dy,
                                    View<const float> scores, const AttentionGateStatistics& statistics,
                                    View<const bfloat16> g, View<const bfloat16> x,
                                    const AttentionGateWeights& weights, const AttentionGateParams& params,
                                    View<const bfloat16> dg_so_far, float* norm_sums, const Exec& exec);

}  // namespace vg::kernels::cuda
