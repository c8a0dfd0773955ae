#include "nets/unet.h"

#include "layers/concat.h"

namespace vg {

namespace {

/// MONAI's Convolution with its defaults in UNet: batch norm, dropout, PReLU.
ConvolutionOptions options(int64_t in_channels, int64_t out_channels, int64_t stride, double dropout) {
  return {.in_channels = in_channels,
          .out_channels = out_channels,
          .stride = static_cast<int>(stride),
          .norm = NormKind::batch,
          .activation = ActivationKind::prelu,
          .dropout = dropout};
}

int64_t channels_above(const Architecture& a, size_t level) {
  return level == 0 ? a.in_channels : a.channels[level - 1];
}

}  // namespace

UNetLevel::UNetLevel(const Architecture& a, size_t level, Device device, Rng& rng)
    : down_(register_module(
          "0", std::make_unique<Convolution>(
                   options(channels_above(a, level), a.channels[level], a.strides[level], a.dropout), device,
                   rng))) {
  const int64_t channels = a.channels[level];
  int64_t channels_below = channels;
  if (level + 2 < a.channels.size()) {
    below_ = &register_module("1.submodule", std::make_unique<UNetLevel>(a, level + 1, device, rng));
  } else {
    channels_below = a.channels.back();
    bottom_ = &register_module(
        "1.submodule",
        std::make_unique<Convolution>(options(channels, channels_below, 1, a.dropout), device, rng));
  }
  ConvolutionOptions up = options(channels + channels_below, a.out_channels, a.strides[level], a.dropout);
  if (level > 0) {
    up.out_channels = a.channels[level - 1];
  } else {  // logits: nothing follows the last convolution
    up.norm = NormKind::none;
    up.activation = ActivationKind::identity;
    up.dropout = 0;
  }
  up.transposed = true;
  up_ = &register_module("2", std::make_unique<Convolution>(up, device, rng));
}

Tensor UNetLevel::operator()(const Tensor& x) const {
  const Tensor down = block_of(recompute_, [this](const std::vector<Tensor>&in) { return down_(in[0]); }, {x},
                               {&down_}),
               below = below_ != nullptr ? (*below_)(down) : (*bottom_)(down);
  return block_of(recompute_, [this](const std::vector<Tensor>& in) { return (*up_)(concat(in)); },
                  {down, below}, {up_});
}

void UNetLevel::set_recompute(bool recompute) {
  recompute_ = recompute;
  if (below_ != nullptr) below_->set_recompute(recompute);
}

UNet::UNet(const Architecture& a, Device device, Rng& rng)
    : Network(a), model_(register_module("model", std::make_unique<UNetLevel>(a, 0, device, rng))) {}

}  // namespace vg
