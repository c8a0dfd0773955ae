#include "layers/softmax.h"

#include "kernels/softmax/softmax.h"
#include "layers/op_support.h"

namespace vg {

namespace {

class SoftmaxNode : public Node {
 public:
  explicit SoftmaxNode(Tensor y) : y_(std::move(y)) {}
  const char* name() const override { return "softmax"; }

  void backward(const Tensor& grad_output) override {
    const Tensor dx = reuse_or_allocate(grad_output);
    with_element_type(dx, [&]<class T>() {
      kernels::softmax_backward(dx.view<T>(), grad_output.view<const T>(), y_.view<const T>(), exec_of(dx));
    });
    pass(0, dx);
  }

 private:
  Tensor y_;
};

}  // namespace

Tensor softmax(Tensor x) {
  require_activation("softmax", "x", x);
  const Tensor y = reuse_or_allocate(x);  // backward needs the output alone
  with_element_type(x,
                    [&]<class T>() { kernels::softmax_forward(y.view<T>(), x.view<const T>(), exec_of(x)); });
  return record<SoftmaxNode>(y, {x}, y);
}

Tensor argmax(const Tensor& x) {
  require_activation("argmax", "x", x);
  const Tensor labels =
      Tensor::activation(x.size(0), x.size(1), x.size(2), x.size(3), 1, x.device(), DType::uint8);
  with_element_type(
      x, [&]<class T>() { kernels::argmax_channels(labels.view<uint8_t>(), x.view<const T>(), exec_of(x)); });
  return labels;
}

}  // namespace vg
