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
                                                 device, rng))) {
  const bool lowest = level + 2 == a.channels.size();
  down_ = &register_module(
      lowest ? "submodule" : "submodule.0",
      std::make_unique<ConvBlock>(a.channels[level], a.channels[level + 1],
                                  static_cast<int>(a.strides[level]), a.dropout, device, rng));
  if (!lowest)
    below_ = &register_module("submodule.1", std::make_unique<AttentionLayer>(a, level + 1, device, rng));
}

Tensor AttentionLayer::below(const Tensor& x) const {
  const Tensor lower = down_->operator()(x);
  return below_ != nullptr ? (*below_)(lower) : lower;
}

Tensor AttentionLayer::merge_input(const Tensor& x, const Tensor& lower) const {
  // The halves of the merge's input are computed where concat() would copy them to. The upsampling by itself
  // is computed a third time, so that what it needs is not there while the gate's gradients are.
  const int64_t channels = x.size(4);
  const Tensor both = Tensor::activation_like(x, 2 * channels), half = both.channels(channels, 2 * channels);
  const Tensor upsampled =
      block_of(recompute_, [this, half](const std::vector<Tensor>& in) { return upconv_(in[0], half); },
               {lower}, {&upconv_});
  return concat({attention_(upsampled, x, both.channels(0, channels)), upsampled});
}

Tensor AttentionLayer::operator()(const Tensor& x) const {
  return block_of(recompute_,
                  [this](const std::vector<Tensor>& in) { return merge_(merge_input(in[0], in[1])); },
                  {x, below(x)}, {&upconv_, &attention_, &merge_});
}

Convolution::Unfinished AttentionLayer::merged(const Tensor& x) const {
  return merge_.convolve(merge_input(x, below(x)));
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
  const Tensor finest = head_(x);
  if (!levels_.leaves_norm(finest)) return classes_(levels_(finest));
  return classes_.finish(classes_.convolve_after(levels_.merge(), levels_.merged(finest)));
}

}  // namespace vg
