#include "kernels/cross_entropy/cross_entropy.h"

#include "kernels/common/check_shape.h"
#include "kernels/cross_entropy/cross_entropy_impl.h"

namespace vg::kernels {

namespace {

template <class T>
void check(const char* function, const View<const T>& logits, const View<const uint8_t>& labels) {
  require_same_voxels(function, logits, labels);
  require(labels.c == 1, function, ": labels have ", labels.c, " channels, expected 1 (class indices)");
  require(logits.c >= 1 && logits.c <= 256, function, ": the logits have ", logits.c,
          " channels, expected 1 to 256");
}

}  // namespace

void cross_entropy_forward(float* loss, float* weight_sum, View<const float> logits,
                           View<const uint8_t> labels, const float* class_weights,
                           const CrossEntropyParams& params, const Exec& exec) {
  check("cross_entropy_forward", logits, labels);
  VG_DISPATCH(exec, cross_entropy_forward, loss, weight_sum, logits, labels, class_weights, params, exec);
}
void cross_entropy_forward(float* loss, float* weight_sum, View<const bfloat16> logits,
                           View<const uint8_t> labels, const float* class_weights,
                           const CrossEntropyParams& params, const Exec& exec) {
  check("cross_entropy_forward", logits, labels);
  VG_DISPATCH_CUDA(exec, cross_entropy_forward, loss, weight_sum, logits, labels, class_weights, params,
                   exec);
}

void cross_entropy_backward(View<float> dlogits, const float* dloss, const float* weight_sum,
                            View<const float> logits, View<const uint8_t> labels, const float* class_weights,
                            const CrossEntropyParams& params, const Exec& exec) {
  check("cross_entropy_backward", logits, labels);
  require_same_shape("cross_entropy_backward", dlogits, logits);
  VG_DISPATCH(exec, cross_entropy_backward, dlogits, dloss, weight_sum, logits, labels, class_weights, params,
              exec);
}
void cross_entropy_backward(View<bfloat16> dlogits, const float* dloss, const float* weight_sum,
                            View<const bfloat16> logits, View<const uint8_t> labels,
                            const float* class_weights, const CrossEntropyParams& params, const Exec& exec) {
  check("cross_entropy_backward", logits, labels);
  require_same_shape("cross_entropy_backward", dlogits, logits);
  VG_DISPATCH_CUDA(exec, cross_entropy_backward, dlogits, dloss, weight_sum, logits, labels, class_weights,
                   params, exec);
}

}  // namespace vg::kernels
