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

Tensor AttentionLayer::operator()(const Tensor& x) const {
  Tensor lower = down_->operator()(x);
  if (below_ != nullptr) lower = (*below_)(lower);
  // The halves of the merge's input are computed where concat() would copy them to.
  const int64_t channels = x.size(4);
  const Tensor both = Tensor::activation_like(x, 2 * channels);
  lower = upconv_(lower, both.channels(channels, 2 * channels));
  return merge_(concat({attention_(lower, x, both.channels(0, channels)), lower}));
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

Tensor AttentionUnet::forward(const Tensor& x) const {
  return classes_(levels_(head_(x)));
}

}  // namespace vg
