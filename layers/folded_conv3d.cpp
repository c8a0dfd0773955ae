#include "layers/folded_conv3d.h"

#include <cmath>

#include "layers/op_support.h"

namespace vg {

using kernels::require;

namespace {

// Independent of the module's, which may go on being trained.
FoldedWeights weights_of(const Tensor& weight, const Tensor& bias, const BatchNorm3d* norm, bool transposed) {
  if (norm != nullptr) return fold_batch_norm(weight, bias, *norm, transposed);
  return {weight.clone(), bias.defined() ? bias.clone() : Tensor()};
}

}  // namespace

FoldedWeights fold_batch_norm(const Tensor& weight, const Tensor& bias, const BatchNorm3d& norm,
                              bool transposed) {
  const std::vector<float> gamma = norm.weight().values(), beta = norm.bias().values(),
                           mean = norm.running_mean().values(), variance = norm.running_var().values();
  std::vector<float> w = weight.values(), b(gamma.size(), 0.0f);
  if (bias.defined()) b = bias.values();
  require(weight.size(transposed ? 1 : 0) == static_cast<int64_t>(gamma.size()), "fold_batch_norm: weight ",
          to_string(weight.shape()), " before a norm of ", gamma.size(), " channels");
  const size_t channels = gamma.size(),
               taps = static_cast<size_t>(product(weight.shape())) /
                      static_cast<size_t>(weight.size(0) * weight.size(1)),
               run = transposed ? taps : taps * static_cast<size_t>(weight.size(1));
  std::vector<double> scale(channels);
  for (size_t c = 0; c < channels; ++c) {
    scale[c] = static_cast<double>(gamma[c]) /
               std::sqrt(static_cast<double>(variance[c]) + static_cast<double>(norm.eps()));
    b[c] = static_cast<float>((static_cast<double>(b[c]) - static_cast<double>(mean[c])) * scale[c] +
                              static_cast<double>(beta[c]));
  }
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<float>(static_cast<double>(w[i]) * scale[i / run % channels]);
  return {Tensor::from_values(weight.shape(), w, weight.device()),
          Tensor::from_values({static_cast<int64_t>(channels)}, b, weight.device())};
}

FoldedConv3d::FoldedConv3d(const Conv3d& convolution, const BatchNorm3d* norm,
                           const FusedActivation& activation, DType products)
    : params_(convolution.params()),
      transposed_(false),
      bfloat16_products_(products == DType::bfloat16),
      slope_(activation.slope.defined() ? activation.slope.clone() : Tensor()),
      activation_(activation.params) {
  const FoldedWeights folded = weights_of(convolution.weight(), convolution.bias(), norm, false);
  weight_ = folded.weight, bias_ = folded.bias;
  if (slope_.defined()) activation_.slope_count = slope_.elements();
}

FoldedConv3d::FoldedConv3d(const ConvTranspose3d& convolution, const BatchNorm3d* norm,
                           const FusedActivation& activation, DType products)
    : transposed_params_(convolution.params()),
      transposed_(true),
      bfloat16_products_(products == DType::bfloat16),
      slope_(activation.slope.defined() ? activation.slope.clone() : Tensor()),
      activation_(activation.params) {
  const FoldedWeights folded = weights_of(convolution.weight(), convolution.bias(), norm, true);
  weight_ = folded.weight, bias_ = folded.bias;
  if (slope_.defined()) activation_.slope_count = slope_.elements();
}

Tensor FoldedConv3d::packed(const Tensor& x) const {
  const kernels::Exec exec = exec_of(x);
  const kernels::WeightPacking wanted =
      transposed_ ? kernels::conv_transpose3d_packing(transposed_params_, bfloat16_products_)
                  : kernels::conv3d_packing(x.view<const float>(), params_, bfloat16_products_);
  if (packed_.defined() && packing_ == wanted) return packed_;
  const Tensor fresh =
      Tensor::empty({transposed_ ? kernels::conv_transpose3d_packed_floats(wanted, transposed_params_)
                                 : kernels::conv3d_packed_floats(wanted, params_)});
  if (transposed_) {
    kernels::conv_transpose3d_pack(fresh.data<float>(), weight_.data<const float>(), wanted,
                                   transposed_params_, exec);
  } else {
    kernels::conv3d_pack(fresh.data<float>(), weight_.data<const float>(), wanted, params_, exec);
  }
  if (!exec.planning) packed_ = fresh;  // a plan's memory is none
  packing_ = wanted;
  return fresh;
}

Tensor FoldedConv3d::output(const Tensor& x) const {
  const auto extent = [&](int axis) {
    return transposed_ ? kernels::conv_transpose3d_output_extent(x.size(axis), transposed_params_)
                       : kernels::conv3d_output_extent(x.size(axis), params_);
  };
  return Tensor::activation(x.size(0), extent(1), extent(2), extent(3),
                            transposed_ ? transposed_params_.out_channels : params_.out_channels, x.device());
}

Tensor FoldedConv3d::operator()(const Tensor& x, const Tensor& into) const {
  require_activation("FoldedConv3d", "x", x);
  require(x.dtype() == DType::float32 && x.device() == Device::cpu,
          "FoldedConv3d: expected float32 on the CPU");
  const Tensor y = into.defined() ? into.detach() : output(x), weights = packed(x);
  const kernels::PackedWeights packed_weights{weights.data<const float>(), packing_};
  const kernels::OutputActivation activation{activation_, data_or_null(slope_)};
  if (transposed_) {
    kernels::conv_transpose3d_forward(y.view(), x.view<const float>(), packed_weights, data_or_null(bias_),
                                      activation, transposed_params_, exec_of(x));
  } else {
    kernels::conv3d_forward(y.view(), x.view<const float>(), packed_weights, data_or_null(bias_), activation,
                            params_, exec_of(x));
  }
  return y;
}

}  // namespace vg
