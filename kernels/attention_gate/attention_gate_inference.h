// The attention gate in inference: its three batch norms are constants, which the weights of the convolutions
// before them take up. On the CPU.
#pragma once

#include "kernels/attention_gate/attention_gate.h"

namespace vg::kernels {

/// Weights and biases with the norms' factors and terms in them. F = intermediate_channels.
struct FoldedGateWeights {
  const float *weight_g, *weight_x;    ///< (F, gate_channels), (F, skip_channels)
  const float* bias;                   ///< [F]: of both branches together
  const float *weight_psi, *bias_psi;  ///< (1, F), [1]
};

/// y = x * sigmoid(w_psi . relu(W_g g + W_x x + b) + b_psi); overwrites y, stores nothing between. Shapes as
/// in attention_gate_forward; params.eps and fixed_statistics are not used. Throws std::invalid_argument if
/// shapes do not fit, and on CUDA.
void attention_gate_inference(View<float> y, View<const float> g, View<const float> x,
                              const FoldedGateWeights& weights, const AttentionGateParams& params,
                              const Exec& exec);

}  // namespace vg::kernels
