#include "layers/elementwise.h"

#include "kernels/elementwise/elementwise.h"
#include "layers/op_support.h"

namespace vg {

using kernels::require;

namespace {

class AddNode : public Node {
 public:
  const char* name() const override { return "add"; }
  void backward(const Tensor& grad_output) override {
    pass(0, grad_output);
    pass(1, grad_output);
  }
};

class ScaleNode : public Node {
 public:
  explicit ScaleNode(float factor) : factor_(factor) {}
  const char* name() const override { return "scale"; }
  void backward(const Tensor& grad_output) override {
    const Tensor dx = reuse_or_allocate(grad_output);
    with_element_type(dx, [&]<class T>() {
      kernels::scale(dx.view<T>(), grad_output.view<const T>(), factor_, exec_of(dx));
    });
    pass(0, dx);
  }

 private:
  float factor_;
};

class MultiplyNode : public Node {
 public:
  MultiplyNode(Tensor a, Tensor b) : a_(std::move(a)), b_(std::move(b)) {}
  const char* name() const override { return "multiply"; }

  void backward(const Tensor& grad_output) override {
    const Tensor da = reuse_or_allocate(grad_output);
    with_element_type(da, [&]<class T>() {
      const View<const T> dy = grad_output.view<const T>();
      if (!needs(1)) return kernels::multiply(da.view<T>(), dy, b_.view<const T>(), exec_of(da));
      const Tensor db = Tensor::empty_like(b_);
      kernels::multiply_backward(da.view<T>(), db.view<T>(), dy, a_.view<const T>(), b_.view<const T>(),
                                 exec_of(da));
      pass(1, db);
    });
    pass(0, da);
  }

 private:
  Tensor a_, b_;
};

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  require(a.defined() && b.defined(), "add: undefined tensor");
  require(a.shape() == b.shape() && a.is_activation() == b.is_activation(), "add: got shapes ",
          to_string(a.shape()), " and ", to_string(b.shape()));
  require_alike("add", a, b);
  const Tensor y = Tensor::empty_like(a);
  with_element_type(
      a, [&]<class T>() { kernels::add(y.view<T>(), a.view<const T>(), b.view<const T>(), exec_of(a)); });
  return record<AddNode>(y, {a, b});
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  require_activation("multiply", "a", a);
  require_activation("multiply", "b", b);
  require_alike("multiply", a, b);
  const Tensor y = Tensor::empty_like(a);
  with_element_type(a, [&]<class T>() {
    kernels::multiply(y.view<T>(), a.view<const T>(), b.view<const T>(), exec_of(a));
  });
  // a is needed for the gradient of b only.
  return record<MultiplyNode>(y, {a, b}, b.requires_grad() ? a.detach() : Tensor(), b.detach());
}

Tensor scale(const Tensor& x, float factor) {
  require(x.defined(), "scale: undefined tensor");
  const Tensor y = Tensor::empty_like(x);
  with_element_type(x,
                    [&]<class T>() { kernels::scale(y.view<T>(), x.view<const T>(), factor, exec_of(x)); });
  return record<ScaleNode>(y, {x}, factor);
}

}  // namespace vg
