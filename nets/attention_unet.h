// The 3D Attention U-Net (Oktay et al. 2018, arxiv.org/abs/1804.03999) as MONAI 1.4's AttentionUnet builds
// it.
#pragma once

#include "layers/attention_gate.h"
#include "nets/blocks.h"
#include "nets/network.h"

namespace vg {

/// One level of the decoder with all that lies below it: the levels below make a coarser tensor, which is
/// upsampled, gates the skip connection, and is merged with it.
///   lower = upconv(submodule(x));  y = merge(concat(attention(lower, x), lower))
/// Names: "attention.*", "upconv.up.*", "merge.*" (instance norm and PReLU), "submodule.*".
class AttentionLayer : public Module {
 public:
  /// The layer between `level` and `level` + 1.
  AttentionLayer(const Architecture& architecture, size_t level, Device device, Rng& rng);
  /// x: [N, D, H, W, channels[level]], its norm not stored only if takes_unstored(); returns the same shape.
  Tensor operator()(const UnstoredNorm& x) const;
  /// next(operator()(x)), where `next` applies the norm of merge if it can: see
  /// Convolution::convolve_after().
  [[nodiscard]] Tensor followed_by(const Convolution& next, const UnstoredNorm& x) const;
  /// Whether all that read x apply a norm of it as they do; for bfloat16.
  [[nodiscard]] bool takes_unstored() const { return attention_.fused() && down_->takes_unstored(); }
  void set_fused_gate(bool fused);
  void set_recompute(bool recompute);

 private:
  /// The levels below, of x.
  [[nodiscard]] Tensor below(const UnstoredNorm& x) const;
  /// The gated skip connection and the upsampled levels below, and the norm of these if it is not stored.
  [[nodiscard]] UnstoredNorm merge_input(const UnstoredNorm& x, const Tensor& lower) const;
  /// The merge before its norm.
  [[nodiscard]] Convolution::Unfinished merge(const UnstoredNorm& x, const Tensor& lower, bool unread) const;
  /// ... with the levels below, recomputed but for the result.
  [[nodiscard]] Convolution::Unfinished merged(const UnstoredNorm& x) const;

  AttentionGate& attention_;
  Convolution& upconv_;
  Convolution& merge_;
  ConvBlock* down_ = nullptr;
  AttentionLayer* below_ = nullptr;  ///< null at the lowest level
  bool finest_;
  bool recompute_ = false;
};

/// Names as in MONAI: "model.0" the first block, "model.1" the levels, "model.2" the 1x1x1 convolution to the
/// classes. `architecture.dropout` stands where MONAI puts it: in the blocks and in merge, but neither in the
/// gates nor in the upsampling.
class AttentionUnet : public Network {
 public:
  AttentionUnet(const Architecture& architecture, Device device, Rng& rng);
  /// False computes the attention gates op by op, storing every intermediate result: for comparison.
  void set_fused_gates(bool fused) { levels_.set_fused_gate(fused); }
  void set_recompute(bool recompute) override;

 private:
  [[nodiscard]] Tensor forward(const Tensor& x) const override;

  ConvBlock& head_;
  AttentionLayer& levels_;
  Convolution& classes_;
};

}  // namespace vg
