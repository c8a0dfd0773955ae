#include "layers/activation.h"

#include "layers/op_support.h"

namespace vg {

namespace {

class ActivationNode : public Node {
 public:
  /// `saved`: the input, or the output where that has the same sign and no more is needed.
  ActivationNode(Tensor saved, Tensor slope, const ActivationParams& params)
      : saved_(std::move(saved)), slope_(std::move(slope)), params_(params) {}
  const char* name() const override { return "activation"; }

  void backward(const Tensor& grad_output) override {
    const Tensor dx = reuse_or_allocate(grad_output);
    Tensor dslope;
    if (slope_.defined()) dslope = needs(1) ? accumulation_buffer(1) : Tensor::empty_like(slope_);
    with_element_type(dx, [&]<class T>() {
      kernels::activation_backward(dx.view<T>(), dslope.defined() ? dslope.data<float>() : nullptr,
                                   grad_output.view<const T>(), saved_.view<const T>(), data_or_null(slope_),
                                   params_, exec_of(dx));
    });
    pass(0, dx);
  }

 private:
  Tensor saved_, slope_;
  ActivationParams params_;
};

Tensor activate(const char* function, Tensor x, const Tensor& slope, const ActivationParams& params) {
  require_activation(function, "x", x);
  // The gradients of relu and leaky_relu depend on the sign alone, which the output shares: it is saved then
  // and may take the place of the input. The next op saves it anyway.
  const bool output_suffices = params.kind == ActivationKind::relu ||
                               (params.kind == ActivationKind::leaky_relu && params.negative_slope >= 0);
  const bool recorded = should_record({x, slope});
  const Tensor y = output_suffices || !recorded ? reuse_or_allocate(x) : Tensor::empty_like(x);
  with_element_type(x, [&]<class T>() {
    kernels::activation_forward(y.view<T>(), x.view<const T>(), data_or_null(slope), params, exec_of(x));
  });
  return record<ActivationNode>(y, {x, slope}, output_suffices ? y : x.detach(), slope.detach(), params);
}

}  // namespace

Tensor relu(Tensor x) {
  return activate("relu", std::move(x), {}, {.kind = ActivationKind::relu});
}

Tensor leaky_relu(Tensor x, float negative_slope) {
  return activate("leaky_relu", std::move(x), {},
                  {.kind = ActivationKind::leaky_relu, .negative_slope = negative_slope});
}

Tensor prelu(Tensor x, const Tensor& slope) {
  require_slope("prelu", slope, x);
  return activate("prelu", std::move(x), slope,
                  {.kind = ActivationKind::prelu, .slope_count = slope.elements()});
}

Tensor sigmoid(Tensor x) {
  return activate("sigmoid", std::move(x), {}, {.kind = ActivationKind::sigmoid});
}

PReLU::PReLU(int64_t count, Device device)
    : weight_(register_parameter("weight", Tensor::full({count}, 0.25f, device))) {}

}  // namespace vg
