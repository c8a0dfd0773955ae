#include "nets/attention_unet.h"

#include "layers/concat.h"

namespace vg {

AttentionLayer::AttentionLayer(const Architecture& a, size_t level, Device device, Rng& rng)
    : attention_(
          register_module("attention", std::make_unique<AttentionGate>(a.channels[level], a.channels[level],
                                                                       a.channels[level] / 2, device))),
      upconv_(register_module(
          "upconv.up",
          std::make_unique<Convolution>(ConvolutionOptions{.in_channels = a.channels[level + 1],
                                                           .out_channels = a.channels[level],
                                                           .stride = static_cast<int>(a.strides[level]),
                                                           .transposed = true,
                                                           .norm = NormKind::batch,
                                                           .activation = ActivationKind::relu},
                                        device, rng))),
      merge_(register_module(
          "merge", std::make_unique<Convolution>(ConvolutionOptions{.in_channels = 2 * a.channels[level],
                                                                    .out_channels = a.channels[level],
                                                                    .norm = NormKind::instance,
                                                                    .activation = ActivationKind::prelu,
                                                                    .dropout = a.dropout},
                                                 device, rng))),
      finest_(level == 0) {
  const bool lowest = level + 2 == a.channels.size();
  down_ = &register_module(
      lowest ? "submodule" : "submodule.0",
      std::make_unique<ConvBlock>(a.channels[level], a.channels[level + 1],
                                  static_cast<int>(a.strides[level]), a.dropout, device, rng));
  if (!lowest)
    below_ = &register_module("submodule.1", std::make_unique<AttentionLayer>(a, level + 1, device, rng));
}

Tensor AttentionLayer::below(const UnstoredNorm& x) const {
  if (below_ == nullptr) return down_->unstored(x, false).x;
  return (*below_)(down_->unstored(x, below_->takes_unstored()));
}

UnstoredNorm AttentionLayer::merge_input(const UnstoredNorm& x, const Tensor& lower) const {
  // The halves of the merge's input are computed where concat() would copy them to.
  const int64_t channels = x.x.size(4);
  const Tensor both = Tensor::activation_like(x.x, 2 * channels);
  const Tensor for_gated = both.channels(0, channels), for_lower = both.channels(channels, 2 * channels);
  if (merge_.applies_norm_to(x.x) && upconv_.leaves_norm() && attention_.fused()) {
    // The gate and the merge apply the norm of the upsampled half as they read it.
    const UnstoredNorm upsampled = upconv_.unstored(upconv_.convolve(lower, for_lower));
    const Tensor gated = attention_(upsampled.x, x.x, for_gated, upsampled.norm, x.norm);
    return {concat({gated, upsampled.x}), upsampled.norm};
  }
  const Tensor upsampled = upconv_(lower, for_lower);
  return {concat({attention_(upsampled, x.x, for_gated, {}, x.norm), upsampled}), {}};
}

Convolution::Unfinished AttentionLayer::merge(const UnstoredNorm& x, const Tensor& lower, bool unread) const {
  if (!x.stored() && merge_.applies_gate_to(x.x) && upconv_.leaves_norm() && attention_.fused() &&
      attention_.training()) {
    const UnstoredNorm upsampled = upconv_.unstored(upconv_.convolve(lower));
    return merge_.convolve_gated(attention_.unstored(upsampled, x), upsampled, unread);
  }
  return merge_.convolve_unstored(merge_input(x, lower), unread);
}

Convolution::Unfinished AttentionLayer::merged(const UnstoredNorm& x) const {
  // Recomputed is what the merge reads: its result is there when backward arrives, and is let go of before.
  const auto statistics = std::make_shared<ChannelStatistics>();
  const Tensor y = block_of(recompute_,
                            [this, norm = x.norm, statistics](const std::vector<Tensor>& in) {
                              const bool unread = recompute_ && Context::get().result_unread();
                              const auto [result, found] = merge({in[0], norm}, in[1], unread);
                              if (!unread) *statistics = found;
                              return result;
                            },
                            {x.x, below(x)}, {&upconv_, &attention_, &merge_});
  return {y, *statistics};
}

Tensor AttentionLayer::operator()(const UnstoredNorm& x) const {
  if (merge_.takes_folded(x.x)) return merge_(merge_input(x, below(x)).x);
  if (finest_) return merge_.finish(merged(x));
  // Backward reaches this level when the memory is wanted by the finer ones: nothing is kept.
  return block_of(recompute_,
                  [this, norm = x.norm](const std::vector<Tensor>& in) {
                    const bool unread = recompute_ && Context::get().result_unread();
                    return merge_.finish(merge({in[0], norm}, in[1], false), {}, unread);
                  },
                  {x.x, below(x)}, {&upconv_, &attention_, &merge_});
}

Tensor AttentionLayer::followed_by(const Convolution& next, const UnstoredNorm& x) const {
  if (x.x.dtype() != DType::bfloat16) return next((*this)(x));
  return next.finish(next.convolve_after(merge_, merged(x)));
}

void AttentionLayer::set_recompute(bool recompute) {
  recompute_ = recompute;
  down_->set_recompute(recompute);
  if (below_ != nullptr) below_->set_recompute(recompute);
}

void AttentionLayer::set_fused_gate(bool fused) {
  attention_.set_fused(fused);
  if (below_ != nullptr) below_->set_fused_gate(fused);
}

AttentionUnet::AttentionUnet(const Architecture& a, Device device, Rng& rng)
    : Network(a),
      head_(register_module("model.0", std::make_unique<ConvBlock>(a.in_channels, a.channels.front(), 1,
                                                                   a.dropout, device, rng))),
      levels_(register_module("model.1", std::make_unique<AttentionLayer>(a, 0, device, rng))),
      classes_(register_module(
          "model.2", std::make_unique<Convolution>(ConvolutionOptions{.in_channels = a.channels.front(),
                                                                      .out_channels = a.out_channels,
                                                                      .kernel_size = 1},
                                                   device, rng))) {}

void AttentionUnet::set_recompute(bool recompute) {
  head_.set_recompute(recompute);
  levels_.set_recompute(recompute);
}

Tensor AttentionUnet::forward(const Tensor& x) const {
  return levels_.followed_by(classes_, head_.unstored({x, {}}, levels_.takes_unstored()));
}

}  // namespace vg
