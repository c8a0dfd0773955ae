#include "layers/resample3d.h"

#include "layers/op_support.h"

namespace vg {

namespace {

class Resample3dNode : public Node {
 public:
  Resample3dNode(Shape x_shape, const Resample3dParams& params)
      : x_shape_(std::move(x_shape)), params_(params) {}
  const char* name() const override { return "resample3d"; }

  void backward(const Tensor& grad_output) override {
    const Tensor dx = Tensor::activation(x_shape_[0], x_shape_[1], x_shape_[2], x_shape_[3], x_shape_[4],
                                         grad_output.device(), grad_output.dtype());
    with_element_type(dx, [&]<class T>() {
      kernels::resample3d_backward(dx.view<T>(), grad_output.view<const T>(), params_, exec_of(dx));
    });
    pass(0, dx);
  }

 private:
  Shape x_shape_;
  Resample3dParams params_;
};

}  // namespace

Tensor resample3d(const Tensor& x, int64_t d, int64_t h, int64_t w, const Resample3dParams& params) {
  require_activation("resample3d", "x", x);
  kernels::require(d > 0 && h > 0 && w > 0, "resample3d: to [", d, ", ", h, ", ", w, "]");
  const Tensor y = Tensor::activation(x.size(0), d, h, w, x.size(4), x.device(), x.dtype());
  with_element_type(
      x, [&]<class T>() { kernels::resample3d_forward(y.view<T>(), x.view<const T>(), params, exec_of(x)); });
  return record<Resample3dNode>(y, {x}, x.shape(), params);
}

}  // namespace vg
