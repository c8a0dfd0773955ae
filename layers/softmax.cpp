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
    kernels::softmax_backward(dx.view(), grad_output.view<const float>(), y_.view<const float>(),
                              exec_of(dx));
    pass(0, dx);
  }

 private:
  Tensor y_;
};

}  // namespace

Tensor softmax(Tensor x) {
  require_activation("softmax", "x", x);
  const Tensor y = reuse_or_allocate(x);  // backward needs the output alone
  kernels::softmax_forward(y.view(), x.view<const float>(), exec_of(x));
  return record<SoftmaxNode>(y, {x}, y);
}

Tensor argmax(const Tensor& x) {
  require_activation("argmax", "x", x);
  const Tensor labels =
      Tensor::activation(x.size(0), x.size(1), x.size(2), x.size(3), 1, x.device(), DType::uint8);
  kernels::argmax_channels(labels.view<uint8_t>(), x.view<const float>(), exec_of(x));
  return labels;
}

}  // namespace vg
