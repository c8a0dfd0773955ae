#include "nets/blocks.h"

#include "kernels/common/check.h"
#include "layers/gated_conv3d.h"
#include "layers/norm_conv3d.h"

namespace vg {

using kernels::require;

Tensor block_of(bool again, const TensorFunction& function, const std::vector<Tensor>& inputs,
                std::initializer_list<const Module*> modules) {
  if (!again) return function(inputs);
  std::vector<Tensor> parameters;
  for (const Module* module : modules) {
    for (const auto& [name, parameter] : module->named_parameters()) parameters.push_back(parameter);
  }
  return recompute(function, inputs, parameters);
}

Convolution::Convolution(const ConvolutionOptions& o, Device device, Rng& rng) {
  require(o.norm != NormKind::none || (o.activation == ActivationKind::identity && o.dropout == 0),
          "Convolution: activation and dropout need a norm before them");
  require(o.activation == ActivationKind::identity || o.activation == ActivationKind::relu ||
              o.activation == ActivationKind::prelu,
          "Convolution: expected identity, relu or prelu");
  if (o.transposed) {
    require(o.kernel_size == 3 && o.stride == 2,
            "Convolution: transposed needs kernel 3 and stride 2, got kernel ", o.kernel_size, " and stride ",
            o.stride);
    const ConvTranspose3dParams params{.in_channels = o.in_channels, .out_channels = o.out_channels};
    transposed_ = &register_module("conv", std::make_unique<ConvTranspose3d>(params, true, device));
  } else {
    const Conv3dParams params{.in_channels = o.in_channels,
                              .out_channels = o.out_channels,
                              .kernel_size = o.kernel_size,
                              .stride = o.stride,
                              .padding = o.kernel_size / 2};
    convolution_ = &register_module("conv", std::make_unique<Conv3d>(params, true, device));
  }
  if (o.norm == NormKind::batch)
    batch_norm_ = &register_module("adn.N", std::make_unique<BatchNorm3d>(o.out_channels, device));
  if (o.norm == NormKind::instance)
    instance_norm_ =
        &register_module("adn.N", std::make_unique<InstanceNorm3d>(o.out_channels, /*affine=*/false, device));
  if (o.dropout > 0)
    dropout_ = &register_module("adn.D", std::make_unique<Dropout>(static_cast<float>(o.dropout), rng));
  activation_.params.kind = o.activation;
  if (o.activation == ActivationKind::prelu)
    activation_.slope = register_module("adn.A", std::make_unique<PReLU>(1, device)).weight();
}

Tensor Convolution::operator()(const Tensor& x, const Tensor& into) const {
  if (!takes_folded(x)) return finish(convolve(x), into);
  if (instance_norm_ == nullptr) return (*folded_)(x, into);
  return (*instance_norm_)((*folded_)(x), activation_, {into, {}});
}

void Convolution::set_frozen(bool frozen, DType products) {
  folded_ = nullptr;
  const Tensor& weight = transposed_ != nullptr ? transposed_->weight() : convolution_->weight();
  if (!frozen || weight.device() != Device::cpu) return;
  const FusedActivation activation = instance_norm_ == nullptr ? activation_ : FusedActivation{};
  folded_ = transposed_ != nullptr
                ? std::make_unique<FoldedConv3d>(*transposed_, batch_norm_, activation, products)
                : std::make_unique<FoldedConv3d>(*convolution_, batch_norm_, activation, products);
}

Convolution::Unfinished Convolution::convolve(const Tensor& x, const Tensor& into, bool unread) const {
  // A norm that needs the statistics of this batch is given them by the convolution.
  ChannelStatistics found{.per_instance = instance_norm_ != nullptr};
  ChannelStatistics* const statistics = uses_batch_statistics() ? &found : nullptr;
  Tensor y =
      transposed_ != nullptr ? (*transposed_)(x, statistics, into) : (*convolution_)(x, statistics, unread);
  return {std::move(y), found};
}

Tensor Convolution::finish(Unfinished x, const Tensor& into, bool unread) const {
  // The activation runs within the norm, before the dropout instead of after it as in MONAI. The result is
  // the same: identity, ReLU and PReLU keep zero at zero and let a positive factor through.
  Tensor y = std::move(x.y);
  const NormFusion fusion{into, x.statistics, unread && dropout_ == nullptr};
  if (batch_norm_ != nullptr) y = (*batch_norm_)(std::move(y), activation_, fusion);
  if (instance_norm_ != nullptr) y = (*instance_norm_)(std::move(y), activation_, fusion);
  return dropout_ != nullptr ? (*dropout_)(std::move(y)) : y;
}

bool Convolution::applies_norm() const {
  return convolution_ != nullptr && uses_batch_statistics() &&
         kernels::conv3d_applies_norm(convolution_->params());
}

UnstoredNorm Convolution::unstored(const Unfinished& x) const {
  return batch_norm_->unstored(x.y, x.statistics, activation_);
}

Convolution::Unfinished Convolution::convolve_unstored(const UnstoredNorm& x, bool unread) const {
  if (x.stored()) return convolve(x.x, {}, unread);
  Unfinished result{.y = {}, .statistics = {.per_instance = instance_norm_ != nullptr}};
  result.y = conv3d_of_unstored(x.x, x.norm, convolution_->weight(), convolution_->bias(),
                                convolution_->params(), result.statistics, unread);
  return result;
}

Convolution::Unfinished Convolution::convolve_gated(const UnstoredGate& gated, const UnstoredNorm& rest,
                                                    bool unread) const {
  Unfinished result{.y = {}, .statistics = {.per_instance = instance_norm_ != nullptr}};
  result.y = gated_conv3d(gated, rest, convolution_->weight(), convolution_->bias(), convolution_->params(),
                          result.statistics, unread);
  return result;
}

Convolution::Unfinished Convolution::convolve_after(const Convolution& before, Unfinished x,
                                                    bool unread) const {
  // Statistics of x say that it is of bfloat16 and that a norm which uses them follows. Where the convolution
  // needs a pass for the norm, one that stores its result for the backward pass is the only one.
  const bool fused = x.statistics.mean.defined() && before.dropout_ == nullptr && convolution_ != nullptr &&
                     kernels::conv3d_applies_norm(convolution_->params());
  if (!fused) return convolve(before.finish(std::move(x)), {}, unread);
  const NormOperands norm = before.batch_norm_ != nullptr
                                ? before.batch_norm_->operands(x.y, x.statistics, before.activation_)
                                : before.instance_norm_->operands(x.statistics, before.activation_);
  Unfinished result{.y = {}, .statistics = {.per_instance = instance_norm_ != nullptr}};
  result.y = norm_conv3d(x.y, norm, convolution_->weight(), convolution_->bias(), convolution_->params(),
                         uses_batch_statistics() ? &result.statistics : nullptr, unread);
  return result;
}

ConvBlock::ConvBlock(int64_t in_channels, int64_t out_channels, int stride, double dropout, Device device,
                     Rng& rng)
    : first_(register_module(
          "conv.0", std::make_unique<Convolution>(ConvolutionOptions{.in_channels = in_channels,
                                                                     .out_channels = out_channels,
                                                                     .stride = stride,
                                                                     .norm = NormKind::batch,
                                                                     .activation = ActivationKind::relu,
                                                                     .dropout = dropout},
                                                  device, rng))),
      second_(register_module(
          "conv.1", std::make_unique<Convolution>(ConvolutionOptions{.in_channels = out_channels,
                                                                     .out_channels = out_channels,
                                                                     .norm = NormKind::batch,
                                                                     .activation = ActivationKind::relu,
                                                                     .dropout = dropout},
                                                  device, rng))) {}

UnstoredNorm ConvBlock::unstored(const UnstoredNorm& x, bool wanted) const {
  wanted = wanted && x.x.dtype() == DType::bfloat16 && second_.leaves_norm();
  const auto found = std::make_shared<ChannelStatistics>();
  Tensor y = block_of(recompute_,
                      [this, norm = x.norm, wanted, found](const std::vector<Tensor>& in) {
                        if (first_.takes_folded(in[0])) return second_(first_(in[0]));
                        const bool unread = recompute_ && Context::get().result_unread();
                        Convolution::Unfinished result = second_.convolve_after(
                            first_, first_.convolve_unstored({in[0], norm}), wanted && unread);
                        if (!wanted) return second_.finish(std::move(result), {}, unread);
                        if (!unread) *found = result.statistics;
                        return result.y;
                      },
                      {x.x}, {this});
  if (!wanted) return {std::move(y), {}};
  return second_.unstored({std::move(y), *found});
}

}  // namespace vg
