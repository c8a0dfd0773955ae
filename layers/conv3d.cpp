#include "layers/conv3d.h"

#include "kernels/conv3d/conv3d_narrow_gradient.h"
#include "layers/norm_gradient.h"
#include "layers/op_support.h"

namespace vg {

namespace {

class Conv3dNode : public NormInputNode {
 public:
  /// `x` is undefined if the weight needs no gradient.
  Conv3dNode(Tensor x, Shape x_shape, Tensor weight, const Conv3dParams& params, bool normalised,
             NormOperands norm_of_x = {})
      : x_(std::move(x)),
        norm_of_x_(std::move(norm_of_x)),
        x_shape_(std::move(x_shape)),
        weight_(std::move(weight)),
        params_(params),
        normalised_(normalised) {}
  const char* name() const override { return "conv3d"; }

  bool takes_unfinished() const override {
    return normalised_ &&
           (kernels::conv3d_makes_gradient(params_) || kernels::conv3d_makes_both_gradients(params_));
  }

  void backward(const Tensor& grad_output) override {
    float* const dweight = needs(1) ? accumulation_buffer(1).data<float>() : nullptr;
    if (needs(2)) {
      const Tensor dbias = accumulation_buffer(2);
      with_element_type(grad_output, [&]<class T>() {
        if (!normalised_)
          kernels::conv3d_backward_bias(dbias.data<float>(), grad_output.view<const T>(),
                                        exec_of(grad_output));
      });
    }
    Tensor dy = grad_output;
    if (const auto rest = take_unfinished(grad_output)) {
      const bool both = rest->narrow.defined() ? kernels::conv3d_makes_both_gradients_of_narrow(params_)
                                               : kernels::conv3d_makes_both_gradients(params_);
      if (both && dweight != nullptr && needs(0)) return backward_both(dweight, grad_output, *rest);
      const std::optional<kernels::InputNorm> norm = norm_of_x();
      dy = backward_weight(dweight, grad_output, *rest, x_, norm ? &*norm : nullptr, params_, needs(0));
    } else if (dweight != nullptr) {
      with_element_type(dy, [&]<class T>() {
        backward_weight(dweight, dy.view<const T>(), x_.view<const T>(), exec_of(dy));
      });
    }
    x_ = Tensor();  // its memory is free for dx
    if (needs(0)) with_element_type(dy, [&]<class T>() { backward_input<T>(dy); });
  }

 private:
  using NormInputNode::backward_both;
  using NormInputNode::backward_weight;

  /// What nobody else sees may be added to in place: a skip connection's gradient needs no pass of its own.
  Tensor own_gradient_so_far() {
    const Tensor so_far = take_gradient(0);
    if (!so_far.defined() || so_far.storage_use_count() == 1) return so_far;
    pass(0, so_far);
    return {};
  }
  [[nodiscard]] Tensor new_gradient(const Tensor& like) const {
    return Tensor::activation(x_shape_[0], x_shape_[1], x_shape_[2], x_shape_[3], x_shape_[4], like.device(),
                              like.dtype());
  }

  /// If x is unstored, what the norm on the tape needs of the gradient is summed where that is complete.
  void backward_both(float* dweight, const Tensor& grad_output, const UnfinishedGradient& rest) {
    const std::optional<kernels::InputNorm> norm = norm_of_x();
    const bool narrow = rest.narrow.defined();
    Tensor dx = narrow ? Tensor() : own_gradient_so_far();
    const bool add = dx.defined();
    if (!add) dx = new_gradient(grad_output);
    NormNode* const before =
        norm && norm->first_channel == 0 && !narrow ? dynamic_cast<NormNode*>(origin(0)) : nullptr;
    const bool wanted = before != nullptr && before->takes_sums();
    const Tensor sums = wanted ? Tensor::empty({x_shape_[4], 2}, DType::float32, dx.device()) : Tensor();
    backward_both({dx.view<bfloat16>(), add, wanted ? sums.data<float>() : nullptr}, dweight, grad_output,
                  rest, x_, norm ? &*norm : nullptr, weight_, params_);
    x_ = Tensor();
    if (wanted) before->offer_sums(dx, sums);
    pass(0, dx);
  }

  template <class T>
  void backward_input(const Tensor& grad_output) {
    const kernels::Exec exec = exec_of(grad_output);
    const View<const T> dy = grad_output.view<const T>();
    if (const Tensor so_far = own_gradient_so_far(); so_far.defined()) {
      kernels::conv3d_add_backward_input(so_far.view<T>(), dy, weight_.data<const float>(), params_, exec);
      return pass(0, so_far);
    }
    const Tensor dx = new_gradient(grad_output);
    kernels::conv3d_backward_input(dx.view<T>(), dy, weight_.data<const float>(), params_, exec);
    pass(0, dx);
  }

  void backward_weight(float* dweight, const View<const float>& dy, const View<const float>& x,
                       const kernels::Exec& exec) const {
    kernels::conv3d_backward_weight(dweight, dy, x, params_, exec);
  }
  void backward_weight(float* dweight, const View<const bfloat16>& dy, const View<const bfloat16>& x,
                       const kernels::Exec& exec) const {
    const std::optional<kernels::InputNorm> norm = norm_of_x();
    if (norm) return kernels::conv3d_backward_weight(dweight, dy, x, *norm, params_, exec);
    kernels::conv3d_backward_weight(dweight, dy, x, params_, exec);
  }
  [[nodiscard]] std::optional<kernels::InputNorm> norm_of_x() const {
    const Tensor& mean = norm_of_x_.statistics.mean;
    if (!mean.defined()) return std::nullopt;
    return input_norm(norm_of_x_, x_shape_[4] - mean.elements());
  }

  Tensor x_;
  NormOperands norm_of_x_;  ///< of the last channels; without statistics if there is none
  Shape x_shape_;
  Tensor weight_;
  Conv3dParams params_;
  bool normalised_;  ///< a norm takes the bias away again: its gradient is zero
};

}  // namespace

Tensor conv3d_output(const char* function, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const Conv3dParams& params) {
  require_activation(function, "x", x);
  const int64_t k = params.kernel_size;
  require_parameter(function, "weight", weight, {params.out_channels, params.in_channels, k, k, k}, x);
  if (bias.defined()) require_parameter(function, "bias", bias, {params.out_channels}, x);
  kernels::require(params.stride > 0, function, ": stride ", params.stride);
  const auto extent = [&](int axis) {
    kernels::require(x.size(axis) + 2 * params.padding >= k, function, ": input ", to_string(x.shape()),
                     " is smaller than the kernel (", k, ")");
    return kernels::conv3d_output_extent(x.size(axis), params);
  };
  return Tensor::activation(x.size(0), extent(1), extent(2), extent(3), params.out_channels, x.device(),
                            x.dtype());
}

Tensor conv3d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv3dParams& params,
              ChannelStatistics* statistics, bool unread) {
  const auto recorded = [&](const Tensor& y) {
    return record<Conv3dNode>(y, {x, weight, bias}, weight.requires_grad() ? x.detach() : Tensor(), x.shape(),
                              weight.detach(), params, statistics != nullptr);
  };
  if (unread && should_record({x, weight, bias})) return recorded(x.detach());
  const Tensor y = conv3d_output("conv3d", x, weight, bias, params);
  if (statistics != nullptr && x.dtype() == DType::bfloat16) {
    *statistics = ChannelStatistics::empty_for(y, statistics->per_instance);
    kernels::conv3d_forward(y.view<bfloat16>(), statistics->pointers(), x.view<const bfloat16>(),
                            weight.data<const float>(), data_or_null(bias), params, exec_of(x));
  } else {
    with_element_type(x, [&]<class T>() {
      kernels::conv3d_forward(y.view<T>(), x.view<const T>(), weight.data<const float>(), data_or_null(bias),
                              params, exec_of(x));
    });
  }
  return recorded(y);
}

Tensor conv3d_of_unstored(const Tensor& x, const NormOperands& norm, const Tensor& weight, const Tensor& bias,
                          const Conv3dParams& params, ChannelStatistics& statistics, bool unread) {
  const char* const function = "conv3d_of_unstored";
  const int64_t first = x.size(4) - norm.statistics.mean.elements();
  kernels::require(x.dtype() == DType::bfloat16 && !norm.statistics.per_instance && first >= 0, function,
                   ": x is ", dtype_name(x.dtype()), ' ', to_string(x.shape()),
                   ", expected bfloat16 with the channels of a batch norm");
  const auto recorded = [&](const Tensor& y) {
    return record<Conv3dNode>(y, {x, weight, bias}, weight.requires_grad() ? x.detach() : Tensor(), x.shape(),
                              weight.detach(), params, /*normalised=*/true, norm.detached());
  };
  if (unread && should_record({x, weight, bias})) return recorded(x.detach());
  const Tensor y = conv3d_output(function, x, weight, bias, params);
  statistics = ChannelStatistics::empty_for(y, statistics.per_instance);
  const kernels::OutputStatistics of_y = statistics.pointers();
  kernels::conv3d_forward(y.view<bfloat16>(), &of_y, x.view<const bfloat16>(), input_norm(norm, first),
                          weight.data<const float>(), data_or_null(bias), params, exec_of(x));
  return recorded(y);
}

Conv3d::Conv3d(const Conv3dParams& params, bool with_bias, Device device)
    : params_(params),
      weight_(register_parameter("weight",
                                 Tensor::zeros({params.out_channels, params.in_channels, params.kernel_size,
                                                params.kernel_size, params.kernel_size},
                                               DType::float32, device))),
      bias_(with_bias
                ? &register_parameter("bias", Tensor::zeros({params.out_channels}, DType::float32, device))
                : nullptr) {}

}  // namespace vg
