#include "layers/gated_conv3d.h"

#include "kernels/conv3d/conv3d_gated.h"
#include "layers/norm_gradient.h"
#include "layers/op_support.h"

namespace vg {

namespace {

/// What is read, off the tape.
struct Operands {
  UnstoredGate gated;
  UnstoredNorm rest;

  Operands(const UnstoredGate& g, const UnstoredNorm& r) : gated(g), rest{r.x.detach(), r.norm.detached()} {
    gated.y = g.y.detach();
  }
  [[nodiscard]] kernels::GatedInput input() const {
    const UnstoredGate& g = gated;
    kernels::GatedInput x{.skip = g.y.view<const bfloat16>(),
                          .scores = g.scores.view<const float>(),
                          .statistics = {},
                          .weights = {},
                          .gate = {.gate_channels = g.y.size(4),
                                   .skip_channels = g.y.size(4),
                                   .intermediate_channels = g.y.size(4) / 2,
                                   .eps = g.eps,
                                   .norm_of_x = input_norm(g.norm_of_x)},
                          .rest = rest.x.view<const bfloat16>(),
                          .norm_of_rest = input_norm(rest.norm)};
    x.statistics.mean_psi = g.mean_psi.data<float>();
    x.statistics.variance_psi = g.variance_psi.data<float>();
    x.weights.gamma_psi = g.gamma_psi.data<const float>();
    x.weights.beta_psi = g.beta_psi.data<const float>();
    return x;
  }
};

/// Inputs: the gate's result, the norm's, weight, bias.
class GatedConv3dNode : public NormInputNode {
 public:
  GatedConv3dNode(Operands operands, Tensor weight, const Conv3dParams& params)
      : operands_(std::move(operands)), weight_(std::move(weight)), params_(params) {}
  const char* name() const override { return "gated_conv3d"; }
  bool takes_unfinished() const override { return kernels::conv3d_makes_gradient(params_); }

  void backward(const Tensor& grad_output) override {
    float* const dweight = needs(2) ? accumulation_buffer(2).data<float>() : nullptr;
    if (needs(3)) [[maybe_unused]]
      const Tensor zero = accumulation_buffer(3);  // a norm takes the bias away again
    const bool read = needs(0) || needs(1);
    Tensor dy = grad_output;
    if (const auto rest = take_unfinished(grad_output)) {
      if (rest->narrow.defined() && kernels::conv3d_makes_both_gradients_of_narrow(params_) &&
          dweight != nullptr && read) {
        const Tensor dx = new_gradient();
        backward_both(dx, dweight, grad_output, *rest, operands_.input(), weight_, params_);
        return pass_halves(dx);
      }
      dy = backward_weight(dweight, grad_output, *rest, operands_.input(), params_, read);
    } else if (dweight != nullptr) {
      kernels::conv3d_backward_weight(dweight, dy.view<const bfloat16>(), operands_.input(), params_,
                                      exec_of(dy));
    }
    if (!read) return;
    const Tensor dx = new_gradient();
    kernels::conv3d_backward_input(dx.view<bfloat16>(), dy.view<const bfloat16>(),
                                   weight_.data<const float>(), params_, exec_of(dy));
    pass_halves(dx);
  }

 private:
  using NormInputNode::backward_both;

  [[nodiscard]] Tensor new_gradient() const {
    return Tensor::activation_like(operands_.rest.x, 2 * operands_.rest.x.size(4));
  }
  void pass_halves(const Tensor& dx) {
    const int64_t channels = dx.size(4) / 2;
    pass(0, dx.channels(0, channels));
    pass(1, dx.channels(channels, 2 * channels));
  }

  Operands operands_;
  Tensor weight_;
  Conv3dParams params_;
};

}  // namespace

Tensor gated_conv3d(const UnstoredGate& gated, const UnstoredNorm& rest, const Tensor& weight,
                    const Tensor& bias, const Conv3dParams& params, ChannelStatistics& statistics,
                    bool unread) {
  const char* const function = "gated_conv3d";
  require_activation(function, "gated", gated.y);
  require_activation(function, "rest", rest.x);
  require_alike(function, gated.y, rest.x);
  kernels::require(rest.x.dtype() == DType::bfloat16 && gated.norm_of_x.statistics.mean.defined() &&
                       !rest.stored() && gated.y.shape() == rest.x.shape(),
                   function, ": expected bfloat16 before norms, and as many channels of each");
  const int64_t channels = rest.x.size(4), k = params.kernel_size;
  require_parameter(function, "weight", weight, {params.out_channels, 2 * channels, k, k, k}, rest.x);
  if (bias.defined()) require_parameter(function, "bias", bias, {params.out_channels}, rest.x);
  const auto recorded = [&](const Tensor& y) {
    return record<GatedConv3dNode>(y, {gated.y, rest.x, weight, bias}, Operands(gated, rest), weight.detach(),
                                   params);
  };
  if (unread && should_record({gated.y, rest.x, weight, bias})) return recorded(rest.x.detach());
  const Tensor y = Tensor::activation_like(rest.x, params.out_channels);
  statistics = ChannelStatistics::empty_for(y, statistics.per_instance);
  kernels::conv3d_forward(y.view<bfloat16>(), statistics.pointers(), Operands(gated, rest).input(),
                          weight.data<const float>(), data_or_null(bias), params, exec_of(y));
  return recorded(y);
}

}  // namespace vg
