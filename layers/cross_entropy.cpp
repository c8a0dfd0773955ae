#include "layers/cross_entropy.h"

#include "layers/op_support.h"

namespace vg {

namespace {

class CrossEntropyNode : public Node {
 public:
  CrossEntropyNode(Tensor logits, Tensor labels, Tensor weight_sum, Tensor class_weights,
                   const CrossEntropyParams& params)
      : logits_(std::move(logits)),
        labels_(std::move(labels)),
        weight_sum_(std::move(weight_sum)),
        class_weights_(std::move(class_weights)),
        params_(params) {}
  const char* name() const override { return "cross_entropy_loss"; }

  void backward(const Tensor& grad_output) override {
    const Tensor dlogits = Tensor::empty_like(logits_);
    with_element_type(dlogits, [&]<class T>() {
      kernels::cross_entropy_backward(dlogits.view<T>(), grad_output.data<const float>(),
                                      weight_sum_.data<const float>(), logits_.view<const T>(),
                                      labels_.view<const uint8_t>(), data_or_null(class_weights_), params_,
                                      exec_of(dlogits));
    });
    pass(0, dlogits);
  }

 private:
  Tensor logits_, labels_, weight_sum_, class_weights_;
  CrossEntropyParams params_;
};

}  // namespace

Tensor cross_entropy_loss(const Tensor& logits, const Tensor& labels, const CrossEntropyParams& params,
                          const Tensor& class_weights) {
  require_activation("cross_entropy_loss", "logits", logits);
  require_labels("cross_entropy_loss", labels, logits);
  if (class_weights.defined())
    require_parameter("cross_entropy_loss", "class_weights", class_weights, {logits.size(4)}, logits);
  const Tensor loss = Tensor::empty({1}, DType::float32, logits.device());
  const Tensor weight_sum = Tensor::empty({1}, DType::float32, logits.device());
  with_element_type(logits, [&]<class T>() {
    kernels::cross_entropy_forward(loss.data<float>(), weight_sum.data<float>(), logits.view<const T>(),
                                   labels.view<const uint8_t>(), data_or_null(class_weights), params,
                                   exec_of(logits));
  });
  return record<CrossEntropyNode>(loss, {logits}, logits.detach(), labels, weight_sum, class_weights.detach(),
                                  params);
}

}  // namespace vg
