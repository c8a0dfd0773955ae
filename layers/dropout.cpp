#include "layers/dropout.h"

#include "kernels/dropout/dropout.h"
#include "layers/op_support.h"

namespace vg {

using kernels::DropoutParams;

namespace {

class DropoutNode : public Node {
 public:
  explicit DropoutNode(const DropoutParams& params) : params_(params) {}
  const char* name() const override { return "dropout"; }

  void backward(const Tensor& grad_output) override {
    const Tensor dx = reuse_or_allocate(grad_output);
    with_element_type(dx, [&]<class T>() {
      kernels::dropout(dx.view<T>(), grad_output.view<const T>(), params_, exec_of(dx));
    });
    pass(0, dx);
  }

 private:
  DropoutParams params_;
};

void require_probability(float probability) {
  kernels::require(probability >= 0 && probability < 1, "dropout: probability ", probability,
                   " is not in [0, 1)");
}

}  // namespace

Tensor dropout(Tensor x, float probability, Rng& rng) {
  require_activation("dropout", "x", x);
  require_probability(probability);
  const DropoutParams params{.probability = probability, .seed = rng.seed(), .offset = rng.next_offset()};
  const Tensor y = reuse_or_allocate(x);
  with_element_type(x,
                    [&]<class T>() { kernels::dropout(y.view<T>(), x.view<const T>(), params, exec_of(x)); });
  return record<DropoutNode>(y, {x}, params);
}

Dropout::Dropout(float probability, Rng& rng) : probability_(probability), rng_(rng) {
  require_probability(probability);
}

Tensor Dropout::operator()(Tensor x) const {
  return training() && probability_ > 0 ? dropout(std::move(x), probability_, rng_) : x;
}

}  // namespace vg
