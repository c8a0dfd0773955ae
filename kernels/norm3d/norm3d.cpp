#include "kernels/norm3d/norm3d.h"

#include "kernels/activation/activation_impl.h"
#include "kernels/common/check_shape.h"
#include "kernels/norm3d/norm3d_impl.h"

namespace vg::kernels {

namespace {

void require_valid(const char* function, const float* gamma, const float* beta, const float* slope,
                   const Norm3dParams& params, int64_t channels) {
  require((gamma == nullptr) == (beta == nullptr), function,
          ": one of gamma and beta is null, expected both or none");
  require(params.activation.kind != ActivationKind::sigmoid, function,
          ": the fused activation is sigmoid, expected identity, relu, leaky_relu or prelu");
  require_valid_slope(function, slope, params.activation, channels);
}

template <class T>
void check_backward(const View<T>& dx, const float* dgamma, const float* dbeta, const float* dslope,
                    const View<const T>& dy, const View<const T>& x, const float* gamma, const float* beta,
                    const float* slope, const Norm3dParams& params) {
  require_same_shape("norm3d_backward", dx, x);
  require_same_shape("norm3d_backward", dy, x);
  require_valid("norm3d_backward", gamma, beta, slope, params, x.c);
  require((dgamma == nullptr) == (dbeta == nullptr),
          "norm3d_backward: one of dgamma and dbeta is null, expected both or none");
  require(params.activation.kind != ActivationKind::prelu || dslope != nullptr,
          "norm3d_backward: prelu needs the gradient of its slope, found null");
  require(x.elements() > 0, "norm3d_backward: x is empty, expected at least one voxel and channel");
}

}  // namespace

void norm3d_statistics(float* mean, float* variance, View<const float> x, const Norm3dParams& params,
                       const Exec& exec) {
  require(x.elements() > 0, "norm3d_statistics: x is empty, expected at least one voxel and channel");
  VG_DISPATCH(exec, norm3d_statistics, mean, variance, x, params, exec);
}

void norm3d_statistics(float* mean, float* variance, View<const bfloat16> x, const Norm3dParams& params,
                       const Exec& exec) {
  require(x.elements() > 0, "norm3d_statistics: x is empty, expected at least one voxel and channel");
  VG_DISPATCH_CUDA(exec, norm3d_statistics, mean, variance, x, params, exec);
}

void norm3d_apply(View<float> y, View<const float> x, const float* mean, const float* variance,
                  const float* gamma, const float* beta, const float* slope, const Norm3dParams& params,
                  const Exec& exec) {
  require_same_shape("norm3d_apply", y, x);
  require_valid("norm3d_apply", gamma, beta, slope, params, x.c);
  VG_DISPATCH(exec, norm3d_apply, y, x, mean, variance, gamma, beta, slope, params, exec);
}

void norm3d_apply(View<bfloat16> y, View<const bfloat16> x, const float* mean, const float* variance,
                  const float* gamma, const float* beta, const float* slope, const Norm3dParams& params,
                  const Exec& exec) {
  require_same_shape("norm3d_apply", y, x);
  require_valid("norm3d_apply", gamma, beta, slope, params, x.c);
  VG_DISPATCH_CUDA(exec, norm3d_apply, y, x, mean, variance, gamma, beta, slope, params, exec);
}

void norm3d_backward(View<float> dx, float* dgamma, float* dbeta, float* dslope, View<const float> dy,
                     View<const float> x, const float* mean, const float* variance, const float* gamma,
                     const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec) {
  check_backward(dx, dgamma, dbeta, dslope, dy, x, gamma, beta, slope, params);
  VG_DISPATCH(exec, norm3d_backward, dx, dgamma, dbeta, dslope, dy, x, mean, variance, gamma, beta, slope,
              params, exec);
}

void norm3d_backward(View<bfloat16> dx, float* dgamma, float* dbeta, float* dslope, View<const bfloat16> dy,
                     View<const bfloat16> x, const float* mean, const float* variance, const float* gamma,
                     const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec) {
  check_backward(dx, dgamma, dbeta, dslope, dy, x, gamma, beta, slope, params);
  VG_DISPATCH_CUDA(exec, norm3d_backward, dx, dgamma, dbeta, dslope, dy, x, mean, variance, gamma, beta,
                   slope, params, exec);
}

void norm3d_moments_to_statistics(float* mean, float* variance, const float* partials, int64_t groups,
                                  int64_t pieces, int64_t channels, int64_t count, const Exec& exec) {
  require(groups > 0 && pieces > 0 && channels > 0 && count > 0, "norm3d_moments_to_statistics: ", groups,
          " groups, ", pieces, " pieces, ", channels, " channels, ", count,
          " values, expected at least 1 of each");
  VG_DISPATCH_CUDA(exec, norm3d_moments_to_statistics, mean, variance, partials, groups, pieces, channels,
                   count, exec);
}

namespace {

void check_gradients(const NormGradients& gradients, const InputNorm& norm) {
  const char* const function = "norm3d_add_gradients";
  require(norm.params.activation.kind != ActivationKind::prelu || gradients.slope != nullptr, function,
          ": prelu needs the gradient of its slope, found null");
  require((gradients.gamma == nullptr) == (gradients.beta == nullptr), function,
          ": one of the gradients of gamma and beta is null, expected both or none");
}

}  // namespace

void norm3d_add_gradients(float* means, const NormGradients& gradients, const NormGradientSums& sums,
                          const InputNorm& norm, const Exec& exec) {
  const char* const function = "norm3d_add_gradients";
  require(sums.groups > 0 && sums.pieces > 0 && sums.channels > 0 && sums.count > 0, function, ": ",
          sums.groups, " groups, ", sums.pieces, " pieces, ", sums.channels, " channels, ", sums.count,
          " values, expected at least 1 of each");
  const bool prelu = norm.params.activation.kind == ActivationKind::prelu;
  require(sums.columns == 3 || (sums.columns == 2 && !prelu), function, ": ", sums.columns,
          " columns, expected 3, or 2 without prelu");
  check_gradients(gradients, norm);
  VG_DISPATCH_CUDA(exec, norm3d_add_gradients, means, gradients, sums, norm, exec);
}

void norm3d_add_gradients(float* means, const NormGradients& gradients, View<const bfloat16> dy,
                          View<const bfloat16> x, const InputNorm& norm, const Exec& exec) {
  require_same_shape("norm3d_add_gradients", dy, x);
  require(x.elements() > 0, "norm3d_add_gradients: x is empty, expected at least one voxel and channel");
  check_gradients(gradients, norm);
  VG_DISPATCH_CUDA(exec, norm3d_add_gradients, means, gradients, dy, x, norm, exec);
}

void norm3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, View<const bfloat16> x,
                           const InputNorm& norm, const float* means, const Exec& exec) {
  require_same_shape("norm3d_backward_input", dx, x);
  require_same_shape("norm3d_backward_input", dy, x);
  VG_DISPATCH_CUDA(exec, norm3d_backward_input, dx, dy, x, norm, means, exec);
}

void norm3d_update_running(float* running_mean, float* running_variance, const float* mean,
                           const float* variance, int64_t channels, int64_t count, float momentum,
                           const Exec& exec) {
  require(count > 1, "norm3d_update_running: statistics of ", count,
          " value per channel, expected more than 1 (the unbiased variance divides by one less)");
  VG_DISPATCH(exec, norm3d_update_running, running_mean, running_variance, mean, variance, channels, count,
              momentum, exec);
}

}  // namespace vg::kernels
