// The additive attention gate of Attention U-Net: function and module.
#pragma once

#include "kernels/attention_gate/attention_gate.h"
#include "layers/conv3d.h"
#include "layers/module.h"
#include "layers/norm3d.h"

namespace vg {

/// A 1x1x1 convolution and its batch norm.
struct AttentionGateBranch {
  Tensor weight, bias;               ///< (out, in, 1, 1, 1), [out]
  Tensor gamma, beta;                ///< [out]
  Tensor running_mean, running_var;  ///< [out]; updated in training
};

/// A gate's result that nobody has stored, for an op that makes it as it reads (gated_conv3d()).
struct UnstoredGate {
  Tensor y;  ///< on the tape stands for the result; holds x
  Tensor scores, mean_psi, variance_psi, gamma_psi, beta_psi;
  NormOperands norm_of_x;
  float eps;
};

/// x * sigmoid(BN(psi(relu(BN(gate(g)) + BN(skip(x)))))) in one op that stores only the attention
/// coefficients. g: [N, D, H, W, gate channels]; x: [N, D, H, W, skip channels]. The params' activation is
/// not used. `into`: memory for the result, of x's shape, or undefined. With statistics in `norm_of_g` or
/// `norm_of_x`, g or x is the x of an UnstoredNorm. Throws std::invalid_argument if
/// shapes do not fit, or in training for one value per channel.
Tensor attention_gate(const Tensor& g, const Tensor& x, const AttentionGateBranch& gate,
                      const AttentionGateBranch& skip, const AttentionGateBranch& psi,
                      const BatchNormParams& params = {}, const Tensor& into = {},
                      const NormOperands& norm_of_g = {}, const NormOperands& norm_of_x = {});
/// The same in training without storing the result, for bfloat16.
UnstoredGate unstored_attention_gate(const Tensor& g, const Tensor& x, const AttentionGateBranch& gate,
                                     const AttentionGateBranch& skip, const AttentionGateBranch& psi,
                                     const BatchNormParams& params, const NormOperands& norm_of_g,
                                     const NormOperands& norm_of_x);

/// MONAI's AttentionBlock with its names: "W_g.0.conv.weight", "W_g.1.running_mean", ..., "psi.1.bias".
class AttentionGate : public Module {
 public:
  AttentionGate(int64_t gate_channels, int64_t skip_channels, int64_t intermediate_channels,
                Device device = Device::cpu);
  Tensor operator()(const Tensor& g, const Tensor& x, const Tensor& into = {},
                    const NormOperands& norm_of_g = {}, const NormOperands& norm_of_x = {}) const;
  /// The same without storing the result: fused, in training, of bfloat16.
  [[nodiscard]] UnstoredGate unstored(const UnstoredNorm& g, const UnstoredNorm& x) const;

  /// False computes the gate op by op, storing every intermediate result: for comparison.
  void set_fused(bool fused) { fused_ = fused; }
  [[nodiscard]] bool fused() const { return fused_; }

 private:
  void set_frozen(bool frozen, DType products) override;

  struct Branch {
    Conv3d& convolution;
    BatchNorm3d& norm;
  };
  Branch make_branch(const std::string& name, int64_t in_channels, int64_t out_channels, Device device);
  static AttentionGateBranch tensors(const Branch& branch);

  Branch gate_, skip_, psi_;
  bool fused_ = true;
  /// If frozen: weights with the norms in them, see FoldedGateWeights.
  struct Folded {
    Tensor weight_gate, weight_skip, bias, weight_psi, bias_psi;
  };
  std::unique_ptr<Folded> folded_;
};

}  // namespace vg
