#include "layers/norm_conv3d.h"

#include "kernels/conv3d/conv3d_narrow_gradient.h"
#include "layers/norm_gradient.h"
#include "layers/op_support.h"

namespace vg {

using kernels::require;

namespace {

/// Inputs: x, the norm's weight, bias and slope, the convolution's weight and bias.
class NormConv3dNode : public NormInputNode {
 public:
  NormConv3dNode(Tensor x, NormOperands norm, Tensor weight, const Conv3dParams& params, bool normalised)
      : x_(std::move(x)),
        norm_(std::move(norm)),
        weight_(std::move(weight)),
        params_(params),
        normalised_(normalised) {
    for (Tensor* tensor : {&norm_.weight, &norm_.bias, &norm_.activation.slope}) *tensor = tensor->detach();
  }
  const char* name() const override { return "norm_conv3d"; }
  bool takes_unfinished() const override { return normalised_ && kernels::conv3d_makes_gradient(params_); }

  void backward(const Tensor& grad_output) override {
    // The kernel wants room for every gradient of the norm that is there, whether it is needed or not.
    const auto gradient = [this](size_t index, const Tensor& tensor) {
      if (!tensor.defined()) return Tensor();
      return needs(index) ? accumulation_buffer(index) : Tensor::empty_like(tensor);
    };
    const auto pointer = [](const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; };
    const Tensor of_weight = gradient(1, norm_.weight), of_bias = gradient(2, norm_.bias),
                 of_slope = gradient(3, norm_.activation.slope);
    const Tensor dweight = needs(4) ? accumulation_buffer(4) : Tensor(),
                 dbias = needs(5) ? accumulation_buffer(5) : Tensor();
    const Tensor dx = Tensor::empty_like(x_);
    const Tensor means = Tensor::empty({2, norm_.statistics.mean.elements()}, DType::float32, x_.device());
    UnfinishedGradient rest{x_, norm_, means};
    const kernels::NormGradients gradients{pointer(of_weight), pointer(of_bias), pointer(of_slope)};
    float* weight_gradient = pointer(dweight);
    const auto of_norm = take_unfinished(grad_output);
    const kernels::InputNorm norm = input_norm(norm_);
    if (of_norm && weight_gradient != nullptr && !of_norm->narrow.defined() && params_.in_channels <= 16) {
      // Where a pass of its own finishes the gradient, it may do so in place if nobody else reads it.
      const View<bfloat16> finished =
          grad_output.storage_use_count() == 1 ? grad_output.view<bfloat16>() : View<bfloat16>();
      kernels::conv3d_backward_through_norm(dx.view<bfloat16>(), weight_gradient, gradients, finished,
                                            norm_input_gradient(grad_output, *of_norm),
                                            x_.view<const bfloat16>(), norm, weight_.data<const float>(),
                                            params_, means.data<float>(), exec_of(dx));
      return pass(0, pass_unfinished(dx, std::move(rest), origin(0)));
    }
    Tensor dy = grad_output;
    if (of_norm) {
      dy = backward_weight(weight_gradient, grad_output, *of_norm, x_, &norm, params_, true);
      weight_gradient = nullptr;
    }
    float* const bias_gradient = normalised_ ? nullptr : pointer(dbias);
    const View<const bfloat16> x = x_.view<const bfloat16>(), of_y = dy.view<const bfloat16>();
    if (params_.kernel_size == 1 && params_.stride == 1) {
      kernels::conv3d_backward_to_norm(weight_gradient, bias_gradient, gradients, means.data<float>(), of_y,
                                       x, norm, weight_.data<const float>(), params_, exec_of(dy));
      rest.narrow = dy, rest.weight = weight_;
    } else if (params_.kernel_size == 1) {
      kernels::conv3d_backward_through_norm(dx.view<bfloat16>(), weight_gradient, bias_gradient, gradients,
                                            of_y, x, norm, weight_.data<const float>(), params_, exec_of(dy));
      return pass(0, dx);
    } else {
      kernels::conv3d_backward_through_norm(dx.view<bfloat16>(), weight_gradient, bias_gradient, gradients,
                                            of_y, x, norm, weight_.data<const float>(), params_,
                                            means.data<float>(), exec_of(dy));
    }
    pass(0, pass_unfinished(dx, std::move(rest), origin(0)));
  }

 private:
  Tensor x_;
  NormOperands norm_;
  Tensor weight_;
  Conv3dParams params_;
  bool normalised_;  ///< a norm takes the bias away again: its gradient is zero
};

}  // namespace

Tensor norm_conv3d(const Tensor& x, const NormOperands& norm, const Tensor& weight, const Tensor& bias,
                   const Conv3dParams& params, ChannelStatistics* statistics, bool unread) {
  const char* const function = "norm_conv3d";
  require_activation(function, "x", x);
  require(x.dtype() == DType::bfloat16, function, ": x is ", dtype_name(x.dtype()), ", expected bfloat16");
  const Shape groups = {(norm.statistics.per_instance ? x.size(0) : 1) * x.size(4)};
  require_parameter(function, "mean", norm.statistics.mean, groups, x);
  require_parameter(function, "variance", norm.statistics.variance, groups, x);
  if (norm.activation.slope.defined()) require_slope(function, norm.activation.slope, x);
  const auto recorded = [&](const Tensor& y) {
    return record<NormConv3dNode>(y, {x, norm.weight, norm.bias, norm.activation.slope, weight, bias},
                                  x.detach(), norm, weight.detach(), params, statistics != nullptr);
  };
  if (unread && should_record({x, norm.weight, norm.bias, norm.activation.slope, weight, bias}))
    return recorded(x.detach());
  const Tensor y = conv3d_output(function, x, weight, bias, params);
  kernels::OutputStatistics of_result;
  if (statistics != nullptr) {
    *statistics = ChannelStatistics::empty_for(y, statistics->per_instance);
    of_result = statistics->pointers();
  }
  kernels::conv3d_forward(y.view<bfloat16>(), statistics != nullptr ? &of_result : nullptr,
                          x.view<const bfloat16>(), input_norm(norm), weight.data<const float>(),
                          data_or_null(bias), params, exec_of(x));
  return recorded(y);
}

}  // namespace vg
