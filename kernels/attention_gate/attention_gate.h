// The additive attention gate of Attention U-Net (Oktay et al. 2018; MONAI's AttentionBlock) as one op:
//   y = x * psi,  psi = sigmoid(BN(w_psi . relu(BN(W_g g + b_g) + BN(W_x x + b_x)) + b_psi))
// The intermediate channels are recomputed, never stored.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"
#include "kernels/norm3d/norm3d.h"

namespace vg::kernels {

struct AttentionGateParams {
  int64_t gate_channels = 0;          ///< of g
  int64_t skip_channels = 0;          ///< of x
  int64_t intermediate_channels = 0;  ///< of W_g g and W_x x
  float eps = 1e-5f;
  bool fixed_statistics = false;  ///< inference: the statistics are given, not computed
  /// A norm and its activation that are applied to g as it is read, with bfloat16: dg is the gradient of
  /// their result. None if mean is null.
  InputNorm norm_of_g = {};
  InputNorm norm_of_x = {};  ///< likewise: x in the formula is their result
};

/// Weights of the gate. F = intermediate_channels.
struct AttentionGateWeights {
  const float *weight_g, *bias_g, *gamma_g, *beta_g;          ///< (F, gate_channels), [F], [F], [F]
  const float *weight_x, *bias_x, *gamma_x, *beta_x;          ///< (F, skip_channels), [F], [F], [F]
  const float *weight_psi, *bias_psi, *gamma_psi, *beta_psi;  ///< (1, F), [1], [1], [1]
};

/// Gradients of the weights; each accumulates.
struct AttentionGateGradients {
  float *weight_g, *bias_g, *gamma_g, *beta_g;
  float *weight_x, *bias_x, *gamma_x, *beta_x;
  float *weight_psi, *bias_psi, *gamma_psi, *beta_psi;
};

/// Mean and biased variance of the three batch norms: written by forward (read, if fixed_statistics), read by
/// backward.
struct AttentionGateStatistics {
  float *mean_g, *variance_g;      ///< [F]
  float *mean_x, *variance_x;      ///< [F]
  float *mean_psi, *variance_psi;  ///< [1]
};

/// y: like x, overwritten; psi: [N,D,H,W,1], the attention coefficients, overwritten (kept for backward).
/// g: [N,D,H,W,gate_channels]; x: [N,D,H,W,skip_channels].
void attention_gate_forward(View<float> y, View<float> psi, const AttentionGateStatistics& statistics,
                            View<const float> g, View<const float> x, const AttentionGateWeights& weights,
                            const AttentionGateParams& params, const Exec& exec);

/// Overwrites dg and dx; accumulates the gradients of the weights. Same bits for any thread count.
void attention_gate_backward(View<float> dg, View<float> dx, const AttentionGateGradients& gradients,
                             View<const float> dy, View<const float> psi,
                             const AttentionGateStatistics& statistics, View<const float> g,
                             View<const float> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, const Exec& exec);
/// ... with `dg_so_far` added to dg, the gradient that other users of g have left; null data adds nothing.
/// On the CPU dg may lie where dg_so_far lies, and dx where dy does.
void attention_gate_backward(View<float> dg, View<float> dx, const AttentionGateGradients& gradients,
                             View<const float> dy, View<const float> psi,
                             const AttentionGateStatistics& statistics, View<const float> g,
                             View<const float> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, View<const float> dg_so_far,
                             const Exec& exec);

/// The same for bfloat16 activations, on CUDA only. W_g and W_x are rounded to bfloat16 (to nearest),
/// products are summed in float, y, dg and dx are rounded once. In the place of psi stand the scores:
/// [N,D,H,W,1] in float, psi before its batch norm, overwritten by forward and read by backward, which save a
/// pass over g that way; psi = sigmoid((scores - mean_psi) / sqrt(variance_psi + eps) gamma_psi + beta_psi).
/// Without data y is not written, for who makes it as it is read (conv3d_gated.h): unless the statistics are
/// fixed.
void attention_gate_forward(View<bfloat16> y, View<float> scores, const AttentionGateStatistics& statistics,
                            View<const bfloat16> g, View<const bfloat16> x,
                            const AttentionGateWeights& weights, const AttentionGateParams& params,
                            const Exec& exec);
void attention_gate_backward(View<bfloat16> dg, View<bfloat16> dx, const AttentionGateGradients& gradients,
                             View<const bfloat16> dy, View<const float> scores,
                             const AttentionGateStatistics& statistics, View<const bfloat16> g,
                             View<const bfloat16> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, const Exec& exec);
/// ... with `dg_so_far` added to dg, the gradient that other users of g have left; null data adds nothing.
/// `norm_sums` (null: not wanted), [gate_channels, 2], receives what the norm of g needs of dg, see
/// NormGradientSums: sums of one piece, of dg before it is rounded where the kernel has it at hand. For
/// activations but prelu.
void attention_gate_backward(View<bfloat16> dg, View<bfloat16> dx, const AttentionGateGradients& gradients,
                             View<const bfloat16> dy, View<const float> scores,
                             const AttentionGateStatistics& statistics, View<const bfloat16> g,
                             View<const bfloat16> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, View<const bfloat16> dg_so_far,
                             float* norm_sums, const Exec& exec);

}  // namespace vg::kernels
