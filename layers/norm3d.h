// Batch and instance normalisation with an activation fused behind them: functions and modules.
#pragma once

#include "engine/autograd.h"
#include "kernels/norm3d/norm3d.h"
#include "layers/activation.h"
#include "layers/channel_statistics.h"
#include "layers/module.h"

namespace vg {

/// What a normalisation applies to its result: identity, relu, leaky_relu or prelu.
struct FusedActivation {
  ActivationParams params{.kind = ActivationKind::identity};
  Tensor slope = {};  ///< of prelu: [1] or [C]
};

/// A norm with everything but the activation that it normalises.
struct NormOperands {
  ChannelStatistics statistics;
  Tensor weight = {}, bias = {};  ///< [C], or both undefined
  FusedActivation activation = {};
  float eps = 1e-5f;

  /// The same off the tape, for a node to keep.
  [[nodiscard]] NormOperands detached() const {
    return {statistics, weight.detach(), bias.detach(), {activation.params, activation.slope.detach()}, eps};
  }
};

/// A norm whose result nobody has stored: `x` holds the norm's input, and on the tape stands for the result.
/// For ops that apply a norm as they read; their gradient is that of the result.
struct UnstoredNorm {
  Tensor x;
  NormOperands norm;  ///< without statistics if x is the result, which is stored

  [[nodiscard]] bool stored() const { return !norm.statistics.mean.defined(); }
};
/// A norm on the tape, for ops that sum what it needs of its result's gradient while they make that.
class NormNode : public Node {
 public:
  /// False of a norm that sums on its own.
  [[nodiscard]] virtual bool takes_sums() const = 0;
  /// `sums`, [groups, channels, 2], are those of NormGradientSums in one piece, of `gradient`. In vain if
  /// that does not stay the whole gradient.
  virtual void offer_sums(const Tensor& gradient, const Tensor& sums) = 0;
};
/// The kernels' arguments, of channels from `first_channel` on.
kernels::InputNorm input_norm(const NormOperands& norm, int64_t first_channel = 0);

struct BatchNormParams {
  bool training = true;  ///< statistics of the batch; else the running ones
  float momentum = 0.1f;
  float eps = 1e-5f;
  FusedActivation activation = {};
};

/// What a norm's neighbours in a network have prepared for it.
struct NormFusion {
  Tensor into = {};                   ///< memory for the result (a channel slice, see concat()); else new
  ChannelStatistics statistics = {};  ///< of x, from the convolution before; else computed
  /// Nobody reads the result's values: where backward is recorded, x stands for it and nothing is computed.
  bool unread = false;
};

/// PyTorch's batch_norm over N, D, H, W, then the activation. weight, bias: [C] or both undefined.
/// running_mean, running_var: [C], updated in training (with the unbiased variance), or both undefined in
/// training. Throws
/// std::invalid_argument if shapes do not fit, or in training for one value per channel.
Tensor batch_norm(Tensor x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                  const Tensor& running_var, const BatchNormParams& params = {},
                  const NormFusion& fusion = {});

/// PyTorch's instance_norm over D, H, W of each sample and channel, then the activation. weight, bias: [C] or
/// both undefined. Throws std::invalid_argument for one voxel.
Tensor instance_norm(Tensor x, const Tensor& weight, const Tensor& bias,
                     const FusedActivation& activation = {}, float eps = 1e-5f,
                     const NormFusion& fusion = {});

/// Parameters "weight" (1) and "bias" (0), buffers "running_mean" (0), "running_var" (1) and
/// "num_batches_tracked" (int64, on the CPU). train(false) switches to the running statistics.
class BatchNorm3d : public Module {
 public:
  explicit BatchNorm3d(int64_t channels, Device device = Device::cpu, float eps = 1e-5f,
                       float momentum = 0.1f);
  Tensor operator()(Tensor x, const FusedActivation& activation = {}, const NormFusion& fusion = {}) const;

  [[nodiscard]] Tensor& weight() const { return weight_; }
  [[nodiscard]] Tensor& bias() const { return bias_; }
  [[nodiscard]] Tensor& running_mean() const { return running_mean_; }
  [[nodiscard]] Tensor& running_var() const { return running_var_; }
  [[nodiscard]] float eps() const { return eps_; }
  [[nodiscard]] float momentum() const { return momentum_; }
  /// The norm of x, whose statistics are given, for an op that does its work: counts the batch and updates
  /// the running statistics, which operator() otherwise does. In training only.
  [[nodiscard]] NormOperands operands(const Tensor& x, const ChannelStatistics& statistics,
                                      const FusedActivation& activation) const;
  /// The norm with its activation of x, as operands() and not stored: for bfloat16.
  [[nodiscard]] UnstoredNorm unstored(const Tensor& x, const ChannelStatistics& statistics,
                                      const FusedActivation& activation) const;
  /// Counts a batch in "num_batches_tracked", for whoever updates the running statistics.
  void count_batch() const;

 private:
  float eps_, momentum_;
  Tensor &weight_, &bias_, &running_mean_, &running_var_, &num_batches_tracked_;
};

/// No running statistics. With `affine`: parameters "weight" (1) and "bias" (0).
class InstanceNorm3d : public Module {
 public:
  explicit InstanceNorm3d(int64_t channels, bool affine = false, Device device = Device::cpu,
                          float eps = 1e-5f);
  Tensor operator()(Tensor x, const FusedActivation& activation = {}, const NormFusion& fusion = {}) const;

  /// As of BatchNorm3d, but without anything to count.
  [[nodiscard]] NormOperands operands(const ChannelStatistics& statistics,
                                      const FusedActivation& activation) const {
    return {statistics, weight(), bias(), activation, eps_};
  }

  /// Undefined unless affine.
  [[nodiscard]] Tensor weight() const { return weight_ != nullptr ? *weight_ : Tensor(); }
  [[nodiscard]] Tensor bias() const { return bias_ != nullptr ? *bias_ : Tensor(); }

 private:
  int64_t channels_;
  float eps_;
  Tensor* weight_ = nullptr;
  Tensor* bias_ = nullptr;
};

}  // namespace vg
