#include "kernels/dice/dice.h"

#include "kernels/common/check_shape.h"
#include "kernels/dice/dice_impl.h"

namespace vg::kernels {

namespace {

template <class T>
void check(const char* function, const View<const T>& logits, const View<const uint8_t>& labels) {
  require_same_voxels(function, logits, labels);
  require(logits.elements() > 0, function, ": the logits are empty");
  require(labels.c == logits.c || (labels.c == 1 && logits.c <= 256), function, ": labels have ", labels.c,
          " channels, expected ", logits.c, " (0 and 1) or, for at most 256 classes, 1 (class indices)");
}

}  // namespace

void dice_forward(float* loss, float* sums, View<const float> logits, View<const uint8_t> labels,
                  const float* class_weights, const DiceParams& params, const Exec& exec) {
  check("dice_forward", logits, labels);
  VG_DISPATCH(exec, dice_forward, loss, sums, logits, labels, class_weights, params, exec);
}
void dice_forward(float* loss, float* sums, View<const bfloat16> logits, View<const uint8_t> labels,
                  const float* class_weights, const DiceParams& params, const Exec& exec) {
  check("dice_forward", logits, labels);
  VG_DISPATCH_CUDA(exec, dice_forward, loss, sums, logits, labels, class_weights, params, exec);
}

void dice_backward(View<float> dlogits, const float* dloss, const float* sums, View<const float> logits,
                   View<const uint8_t> labels, const float* class_weights, const DiceParams& params,
                   const Exec& exec) {
  check("dice_backward", logits, labels);
  require_same_shape("dice_backward", dlogits, logits);
  VG_DISPATCH(exec, dice_backward, dlogits, dloss, sums, logits, labels, class_weights, params, exec);
}
void dice_backward(View<bfloat16> dlogits, const float* dloss, const float* sums, View<const bfloat16> logits,
                   View<const uint8_t> labels, const float* class_weights, const DiceParams& params,
                   const Exec& exec) {
  check("dice_backward", logits, labels);
  require_same_shape("dice_backward", dlogits, logits);
  VG_DISPATCH_CUDA(exec, dice_backward, dlogits, dloss, sums, logits, labels, class_weights, params, exec);
}

}  // namespace vg::kernels
