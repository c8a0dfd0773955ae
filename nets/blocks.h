// The blocks that the networks are built from. Children have MONAI's names, so that state dicts are exchanged
// unchanged.
#pragma once

#include <initializer_list>
#include <memory>

#include "engine/recompute.h"
#include "kernels/conv3d/conv3d_gated.h"
#include "layers/attention_gate.h"
#include "layers/conv3d.h"
#include "layers/conv_transpose3d.h"
#include "layers/dropout.h"
#include "layers/folded_conv3d.h"
#include "layers/norm3d.h"

namespace vg {

/// function(inputs), through recompute() if `again`; `modules` are those that the function uses.
Tensor block_of(bool again, const TensorFunction& function, const std::vector<Tensor>& inputs,
                std::initializer_list<const Module*> modules);

enum class NormKind : uint8_t { none, batch, instance };

/// A convolution and what follows it.
struct ConvolutionOptions {
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int kernel_size = 3;  ///< 1 or 3; padded so that stride 1 keeps the extents
  int stride = 1;
  bool transposed = false;  ///< with stride 2: doubles the extents
  NormKind norm = NormKind::none;
  ActivationKind activation =
      ActivationKind::identity;  ///< identity, relu or prelu (one slope); needs a norm
  double dropout = 0;            ///< between norm and activation
};

/// MONAI's Convolution: convolution with bias, norm, dropout, activation ("NDA"). Names: "conv.weight",
/// "conv.bias", "adn.N.weight", ... (batch norm only: MONAI's instance norm has no parameters),
/// "adn.A.weight" (PReLU).
class Convolution : public Module {
 public:
  /// `rng` is what dropout draws from; it must outlive the module.
  Convolution(const ConvolutionOptions& options, Device device, Rng& rng);
  /// `into`: memory for the result, or undefined; it may be left unused.
  Tensor operator()(const Tensor& x, const Tensor& into = {}) const;

  /// A result before its norm.
  struct Unfinished {
    Tensor y;
    ChannelStatistics statistics;  ///< of y, where the convolution found them
  };
  /// `into`: memory for y of a transposed convolution, or undefined.
  /// `unread`: nobody reads y's values, only its history; not for a transposed convolution.
  [[nodiscard]] Unfinished convolve(const Tensor& x, const Tensor& into = {}, bool unread = false) const;
  /// `unread`: nobody reads the result's values, only its history (see NormFusion).
  [[nodiscard]] Tensor finish(Unfinished x, const Tensor& into = {}, bool unread = false) const;
  /// convolve(before.finish(x)) in one op that stores nothing between, where that exists: for bfloat16, if
  /// what is between is a norm with statistics of this batch and its activation, and the convolution applies
  /// them as it reads.
  [[nodiscard]] Unfinished convolve_after(const Convolution& before, Unfinished x, bool unread = false) const;
  /// True if operator() takes x in one pass with what freeze() has prepared; but for an instance norm, which
  /// stays a pass of its own.
  [[nodiscard]] bool takes_folded(const Tensor& x) const {
    return folded_ != nullptr && x.dtype() == DType::float32 && !Context::get().recording();
  }
  /// Whether finish() can be left to those who read the result: it is a batch norm in training.
  [[nodiscard]] bool leaves_norm() const {
    return batch_norm_ != nullptr && dropout_ == nullptr && training();
  }
  /// Whether convolve_unstored() of x, of any number of channels, applies a norm as it reads.
  [[nodiscard]] bool applies_norm_to(const Tensor& x) const {
    return x.dtype() == DType::bfloat16 && applies_norm();
  }
  [[nodiscard]] bool applies_norm() const;  ///< to bfloat16
  /// finish() without storing the result, if leaves_norm(); for bfloat16.
  [[nodiscard]] UnstoredNorm unstored(const Unfinished& x) const;
  /// convolve(x) where the last channels of x are those of x.norm.
  [[nodiscard]] Unfinished convolve_unstored(const UnstoredNorm& x, bool unread = false) const;
  /// Whether convolve_gated() of rows of as many voxels as x's, bfloat16, makes its input as it reads.
  [[nodiscard]] bool applies_gate_to(const Tensor& x) const {
    return applies_norm_to(x) && kernels::conv3d_applies_gate(convolution_->params(), x.size(3));
  }
  /// convolve(concat({gated, rest})) of what nobody has stored.
  [[nodiscard]] Unfinished convolve_gated(const UnstoredGate& gated, const UnstoredNorm& rest,
                                          bool unread = false) const;

 private:
  void set_frozen(bool frozen, DType products) override;
  [[nodiscard]] bool uses_batch_statistics() const {
    return instance_norm_ != nullptr || (batch_norm_ != nullptr && training());
  }

  // One of the first two; at most one norm.
  Conv3d* convolution_ = nullptr;
  ConvTranspose3d* transposed_ = nullptr;
  BatchNorm3d* batch_norm_ = nullptr;
  InstanceNorm3d* instance_norm_ = nullptr;
  Dropout* dropout_ = nullptr;
  FusedActivation activation_;
  std::unique_ptr<FoldedConv3d> folded_;  ///< if frozen
};

/// MONAI's ConvBlock of AttentionUnet: two convolutions of size 3, each with batch norm and ReLU, the first
/// with the stride. Names: "conv.0.*", "conv.1.*".
class ConvBlock : public Module {
 public:
  ConvBlock(int64_t in_channels, int64_t out_channels, int stride, double dropout, Device device, Rng& rng);
  Tensor operator()(const Tensor& x) const { return unstored({x, {}}, false).x; }
  /// The same without storing the last norm, if that is `wanted` and it can be left to those who read the
  /// result; of x that may be likewise, if takes_unstored().
  [[nodiscard]] UnstoredNorm unstored(const UnstoredNorm& x, bool wanted) const;
  /// Whether the first convolution applies a norm of x as it reads; for bfloat16.
  [[nodiscard]] bool takes_unstored() const { return first_.applies_norm(); }
  /// Keep nothing for backward but x, see recompute().
  void set_recompute(bool recompute) { recompute_ = recompute; }

 private:
  Convolution& first_;
  Convolution& second_;
  bool recompute_ = false;
};

}  // namespace vg
