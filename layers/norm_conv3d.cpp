#include "layers/norm_conv3d.h"

#include "layers/op_support.h"

namespace vg {

using kernels::require;

namespace {

kernels::InputNorm pointers(const NormOperands& norm) {
  return {
      norm.statistics.mean.data<const float>(),
      norm.statistics.variance.data<const float>(),
      data_or_null(norm.weight),
      data_or_null(norm.bias),
      data_or_null(norm.activation.slope),
      {.per_instance = norm.statistics.per_instance, .eps = norm.eps, .activation = norm.activation.params}};
}

/// Inputs: x, the norm's weight, bias and slope, the convolution's weight and bias (whose gradient is zero: a
/// norm follows).
class NormConv3dNode : public Node {
 public:
  NormConv3dNode(Tensor x, NormOperands norm, Tensor weight, const Conv3dParams& params)
      : x_(std::move(x)), norm_(std::move(norm)), weight_(std::move(weight)), params_(params) {
    for (Tensor* tensor : {&norm_.weight, &norm_.bias, &norm_.activation.slope}) *tensor = tensor->detach();
  }
  const char* name() const override { return "norm_conv3d"; }

  void backward(const Tensor& grad_output) override {
    const kernels::Exec exec = exec_of(grad_output);
    const View<const bfloat16> dy = grad_output.view<const bfloat16>(), x = x_.view<const bfloat16>();
    const kernels::InputNorm norm = pointers(norm_);
    if (needs(4)) {
      kernels::conv3d_backward_weight(accumulation_buffer(4).data<float>(), dy, x, norm, params_, exec);
    }
    if (needs(5)) (void)accumulation_buffer(5);
    const Tensor dx = Tensor::empty_like(x_);
    kernels::conv3d_backward_input(dx.view<bfloat16>(), dy, weight_.data<const float>(), params_, exec);
    const auto gradient = [this](size_t index, const Tensor& tensor) {
      if (!tensor.defined()) return Tensor();
      return needs(index) ? accumulation_buffer(index) : Tensor::empty_like(tensor);
    };
    const Tensor dweight = gradient(1, norm_.weight), dbias = gradient(2, norm_.bias),
                 dslope = gradient(3, norm_.activation.slope);
    const auto pointer = [](const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; };
    kernels::norm3d_backward(dx.view<bfloat16>(), pointer(dweight), pointer(dbias), pointer(dslope),
                             dx.view<const bfloat16>(), x, norm.mean, norm.variance, norm.gamma, norm.beta,
                             norm.slope, norm.params, exec);
    pass(0, dx);
  }

 private:
  Tensor x_;
  NormOperands norm_;
  Tensor weight_;
  Conv3dParams params_;
};

}  // namespace

Tensor norm_conv3d(const Tensor& x, const NormOperands& norm, const Tensor& weight, const Tensor& bias,
                   const Conv3dParams& params, ChannelStatistics& statistics) {
  const char* const function = "norm_conv3d";
  require_activation(function, "x", x);
  require(x.dtype() == DType::bfloat16, function, ": x is ", dtype_name(x.dtype()), ", expected bfloat16");
  const Shape groups = {(norm.statistics.per_instance ? x.size(0) : 1) * x.size(4)};
  require_parameter(function, "mean", norm.statistics.mean, groups, x);
  require_parameter(function, "variance", norm.statistics.variance, groups, x);
  if (norm.activation.slope.defined()) require_slope(function, norm.activation.slope, x);
  const Tensor y = conv3d_output(function, x, weight, bias, params);
  statistics = ChannelStatistics::empty_for(y, statistics.per_instance);
  kernels::conv3d_forward(y.view<bfloat16>(), statistics.pointers(), x.view<const bfloat16>(), pointers(norm),
                          weight.data<const float>(), data_or_null(bias), params, exec_of(x));
  return record<NormConv3dNode>(y, {x, norm.weight, norm.bias, norm.activation.slope, weight, bias},
                                x.detach(), norm, weight.detach(), params);
}

}  // namespace vg
