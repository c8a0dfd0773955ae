#include "kernels/activation/activation.h"

#include "kernels/activation/activation_impl.h"
#include "kernels/common/check_shape.h"

namespace vg::kernels {

namespace {

template <class T>
void check_backward(const View<T>& dx, const float* dslope, const View<const T>& dy, const View<const T>& x,
                    const float* slope, const ActivationParams& params) {
  require_same_shape("activation_backward", dx, x);
  require_same_shape("activation_backward", dy, x);
  require_valid_slope("activation_backward", slope, params, x.c);
  require(params.kind != ActivationKind::prelu || dslope != nullptr,
          "activation_backward: prelu needs the gradient of its slope, found null");
}

}  // namespace

void require_valid_slope(const char* function, const float* slope, const ActivationParams& params,
                         int64_t channels) {
  if (params.kind != ActivationKind::prelu) return;
  require(slope != nullptr, function, ": prelu needs its slope, found null");
  require(params.slope_count == 1 || params.slope_count == channels, function, ": prelu has ",
          params.slope_count, " slopes, expected 1 or one for each of ", channels, " channels");
}

void activation_forward(View<float> y, View<const float> x, const float* slope,
                        const ActivationParams& params, const Exec& exec) {
  require_same_shape("activation_forward", y, x);
  require_valid_slope("activation_forward", slope, params, x.c);
  VG_DISPATCH(exec, activation_forward, y, x, slope, params, exec);
}

void activation_forward(View<bfloat16> y, View<const bfloat16> x, const float* slope,
                        const ActivationParams& params, const Exec& exec) {
  require_same_shape("activation_forward", y, x);
  require_valid_slope("activation_forward", slope, params, x.c);
  VG_DISPATCH_CUDA(exec, activation_forward, y, x, slope, params, exec);
}

void activation_backward(View<float> dx, float* dslope, View<const float> dy, View<const float> x,
                         const float* slope, const ActivationParams& params, const Exec& exec) {
  check_backward(dx, dslope, dy, x, slope, params);
  VG_DISPATCH(exec, activation_backward, dx, dslope, dy, x, slope, params, exec);
}

void activation_backward(View<bfloat16> dx, float* dslope, View<const bfloat16> dy, View<const bfloat16> x,
                         const float* slope, const ActivationParams& params, const Exec& exec) {
  check_backward(dx, dslope, dy, x, slope, params);
  VG_DISPATCH_CUDA(exec, activation_backward, dx, dslope, dy, x, slope, params, exec);
}

}  // namespace vg::kernels
