#include "layers/dice.h"

#include "layers/op_support.h"

namespace vg {

namespace {

/// The weights of the channels that count: the background's is skipped if it was given but is left out.
const float* counted_weights(const Tensor& class_weights, int64_t channels, const DiceParams& params) {
  if (!class_weights.defined()) return nullptr;
  return class_weights.data<const float>() + class_weights.elements() -
         kernels::dice_channels(channels, params);
}

class DiceNode : public Node {
 public:
  DiceNode(Tensor logits, Tensor labels, Tensor sums, Tensor class_weights, const DiceParams& params)
      : logits_(std::move(logits)),
        labels_(std::move(labels)),
        sums_(std::move(sums)),
        class_weights_(std::move(class_weights)),
        params_(params) {}
  const char* name() const override { return "dice_loss"; }

  void backward(const Tensor& grad_output) override {
    const Tensor dlogits = Tensor::empty_like(logits_);
    with_element_type(dlogits, [&]<class T>() {
      kernels::dice_backward(dlogits.view<T>(), grad_output.data<const float>(), sums_.data<const float>(),
                             logits_.view<const T>(), labels_.view<const uint8_t>(),
                             counted_weights(class_weights_, logits_.size(4), params_), params_,
                             exec_of(dlogits));
    });
    pass(0, dlogits);
  }

 private:
  Tensor logits_, labels_, sums_, class_weights_;
  DiceParams params_;
};

}  // namespace

Tensor dice_loss(const Tensor& logits, const Tensor& labels, const DiceParams& params,
                 const Tensor& class_weights) {
  require_activation("dice_loss", "logits", logits);
  require_labels("dice_loss", labels, logits);
  const int64_t n = logits.size(0), c = logits.size(4), counted = kernels::dice_channels(c, params);
  if (class_weights.defined()) {
    require_parameter("dice_loss", "class_weights", class_weights,
                      {class_weights.elements() == c ? c : counted}, logits);
  }
  const Shape shape =
      params.reduction == LossReduction::none ? Shape{params.batch ? 1 : n, counted} : Shape{1};
  const Tensor loss = Tensor::empty(shape, DType::float32, logits.device());
  const Tensor sums = Tensor::empty({n, c, 3}, DType::float32, logits.device());
  with_element_type(logits, [&]<class T>() {
    kernels::dice_forward(loss.data<float>(), sums.data<float>(), logits.view<const T>(),
                          labels.view<const uint8_t>(), counted_weights(class_weights, c, params), params,
                          exec_of(logits));
  });
  return record<DiceNode>(loss, {logits}, logits.detach(), labels, sums, class_weights.detach(), params);
}

}  // namespace vg
