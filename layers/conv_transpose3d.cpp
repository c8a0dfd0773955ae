#include "layers/conv_transpose3d.h"

#include "kernels/conv3d/conv3d.h"
#include "layers/norm_gradient.h"
#include "layers/op_support.h"

namespace vg {

namespace {

class ConvTranspose3dNode : public NormInputNode {
 public:
  /// `x` is undefined if the weight needs no gradient.
  ConvTranspose3dNode(Tensor x, Shape x_shape, Tensor weight, const ConvTranspose3dParams& params,
                      bool normalised)
      : x_(std::move(x)),
        x_shape_(std::move(x_shape)),
        weight_(std::move(weight)),
        params_(params),
        normalised_(normalised) {}
  const char* name() const override { return "conv_transpose3d"; }

  bool takes_unfinished() const override {
    return normalised_ && needs(0) && needs(1) && kernels::conv_transpose3d_makes_both_gradients(params_);
  }

  void backward(const Tensor& grad_output) override {
    const Tensor dbias = needs(2) ? accumulation_buffer(2) : Tensor();
    if (const auto rest = take_unfinished(grad_output)) return both_gradients(grad_output, *rest);
    with_element_type(grad_output, [&]<class T>() {
      backward_of<T>(grad_output);
      if (dbias.defined() && !normalised_)
        kernels::conv3d_backward_bias(dbias.data<float>(), grad_output.view<const T>(), exec_of(grad_output));
    });
  }

 private:
  void both_gradients(const Tensor& gradient, const UnfinishedGradient& rest) {
    const Tensor dx = input_gradient(gradient);
    // In place if nobody else reads it.
    const View<bfloat16> dy =
        gradient.storage_use_count() == 1 ? gradient.view<bfloat16>() : View<bfloat16>();
    kernels::conv_transpose3d_backward(dx.view<bfloat16>(), accumulation_buffer(1).data<float>(), dy,
                                       norm_input_gradient(gradient, rest), x_.view<const bfloat16>(),
                                       weight_.data<const float>(), params_, exec_of(gradient));
    x_ = Tensor();
    pass(0, dx);
  }

  [[nodiscard]] Tensor input_gradient(const Tensor& like) const {
    return Tensor::activation(x_shape_[0], x_shape_[1], x_shape_[2], x_shape_[3], x_shape_[4], like.device(),
                              like.dtype());
  }

  template <class T>
  void backward_of(const Tensor& grad_output) {
    const kernels::Exec exec = exec_of(grad_output);
    const View<const T> dy = grad_output.view<const T>();
    if (needs(1)) {
      kernels::conv_transpose3d_backward_weight(accumulation_buffer(1).data<float>(), dy, x_.view<const T>(),
                                                params_, exec);
    }
    x_ = Tensor();  // its memory is free for dx
    if (!needs(0)) return;
    const Tensor dx = input_gradient(grad_output);
    kernels::conv_transpose3d_backward_input(dx.view<T>(), dy, weight_.data<const float>(), params_, exec);
    pass(0, dx);
  }

  Tensor x_;
  Shape x_shape_;
  Tensor weight_;
  ConvTranspose3dParams params_;
  bool normalised_;  ///< a norm takes the bias away again: its gradient is zero
};

}  // namespace

Tensor conv_transpose3d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvTranspose3dParams& params, ChannelStatistics* statistics,
                        const Tensor& into) {
  require_activation("conv_transpose3d", "x", x);
  const int64_t k = params.kernel_size;
  require_parameter("conv_transpose3d", "weight", weight, {params.in_channels, params.out_channels, k, k, k},
                    x);
  if (bias.defined()) require_parameter("conv_transpose3d", "bias", bias, {params.out_channels}, x);
  const auto extent = [&](int axis) {
    const int64_t result = kernels::conv_transpose3d_output_extent(x.size(axis), params);
    kernels::require(result > 0, "conv_transpose3d: input ", to_string(x.shape()), " leaves no output");
    return result;
  };
  const Shape shape = {x.size(0), extent(1), extent(2), extent(3), params.out_channels};
  kernels::require(!into.defined() || (into.shape() == shape && into.dtype() == x.dtype()),
                   "conv_transpose3d: memory for the result is ",
                   into.defined() ? to_string(into.shape()) : "", ", expected ", to_string(shape));
  const Tensor y = into.defined() ? into.detach()
                                  : Tensor::activation(shape[0], shape[1], shape[2], shape[3], shape[4],
                                                       x.device(), x.dtype());
  if (statistics != nullptr && x.dtype() == DType::bfloat16) {
    *statistics = ChannelStatistics::empty_for(y, statistics->per_instance);
    kernels::conv_transpose3d_forward(y.view<bfloat16>(), statistics->pointers(), x.view<const bfloat16>(),
                                      weight.data<const float>(), data_or_null(bias), params, exec_of(x));
  } else {
    with_element_type(x, [&]<class T>() {
      kernels::conv_transpose3d_forward(y.view<T>(), x.view<const T>(), weight.data<const float>(),
                                        data_or_null(bias), params, exec_of(x));
    });
  }
  return record<ConvTranspose3dNode>(y, {x, weight, bias}, weight.requires_grad() ? x.detach() : Tensor(),
                                     x.shape(), weight.detach(), params, statistics != nullptr);
}

ConvTranspose3d::ConvTranspose3d(const ConvTranspose3dParams& params, bool with_bias, Device device)
    : params_(params),
      weight_(register_parameter("weight",
                                 Tensor::zeros({params.in_channels, params.out_channels, params.kernel_size,
                                                params.kernel_size, params.kernel_size},
                                               DType::float32, device))),
      bias_(with_bias
                ? &register_parameter("bias", Tensor::zeros({params.out_channels}, DType::float32, device))
                : nullptr) {}

}  // namespace vg
