#include "kernels/softmax/softmax.h"

#include "kernels/common/check_shape.h"
#include "kernels/softmax/softmax_impl.h"

namespace vg::kernels {

namespace {

template <class T>
void check_argmax(const View<uint8_t>& labels, const View<const T>& x) {
  require_same_voxels("argmax_channels", labels, x);
  require(labels.c == 1, "argmax_channels: labels have ", labels.c, " channels, expected 1");
  require(x.c >= 1 && x.c <= 256, "argmax_channels: x has ", x.c, " channels, expected 1 to 256");
}

}  // namespace

void softmax_forward(View<float> y, View<const float> x, const Exec& exec) {
  require_same_shape("softmax_forward", y, x);
  if (x.elements() == 0) return;
  VG_DISPATCH(exec, softmax_forward, y, x, exec);
}
void softmax_forward(View<bfloat16> y, View<const bfloat16> x, const Exec& exec) {
  require_same_shape("softmax_forward", y, x);
  if (x.elements() == 0) return;
  VG_DISPATCH_CUDA(exec, softmax_forward, y, x, exec);
}

void softmax_backward(View<float> dx, View<const float> dy, View<const float> y, const Exec& exec) {
  require_same_shape("softmax_backward", dx, y);
  require_same_shape("softmax_backward", dy, y);
  if (y.elements() == 0) return;
  VG_DISPATCH(exec, softmax_backward, dx, dy, y, exec);
}
void softmax_backward(View<bfloat16> dx, View<const bfloat16> dy, View<const bfloat16> y, const Exec& exec) {
  require_same_shape("softmax_backward", dx, y);
  require_same_shape("softmax_backward", dy, y);
  if (y.elements() == 0) return;
  VG_DISPATCH_CUDA(exec, softmax_backward, dx, dy, y, exec);
}

void argmax_channels(View<uint8_t> labels, View<const float> x, const Exec& exec) {
  check_argmax(labels, x);
  if (x.elements() == 0) return;
  VG_DISPATCH(exec, argmax_channels, labels, x, exec);
}
void argmax_channels(View<uint8_t> labels, View<const bfloat16> x, const Exec& exec) {
  check_argmax(labels, x);
  if (x.elements() == 0) return;
  VG_DISPATCH_CUDA(exec, argmax_channels, labels, x, exec);
}

}  // namespace vg::kernels
