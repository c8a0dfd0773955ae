#pragma once

#include "kernels/common/dispatch.h"
#include "kernels/norm3d/norm3d.h"

namespace vg::kernels {

VG_DECLARE_CPU_IMPLEMENTATIONS(
    void norm3d_statistics(float* mean, float* variance, View<const float> x, const Norm3dParams& params,
                           const Exec& exec);
    void norm3d_apply(View<float> y, View<const float> x, const float* mean, const float* variance,
                      const float* gamma, const float* beta, const float* slope, const Norm3dParams& params,
                      const Exec& exec);
    void norm3d_backward(View<float> dx, float* dgamma, float* dbeta, float* dslope, View<const float> dy,
                         View<const float> x, const float* mean, const float* variance, const float* gamma,
                         const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec);
    void norm3d_update_running(float* running_mean, float* running_variance, const float* mean,
                               const float* variance, int64_t channels, int64_t count, float momentum,
                               const Exec& exec);)

// T is float or bfloat16.
namespace cuda {
template <class T>
void norm3d_statistics(float* mean, float* variance, View<const T> x, const Norm3dParams& params,
                       const Exec& exec);
template <class T>
void norm3d_apply(View<T> y, View<const T> x, const float* mean, const float* variance, const float* gamma,
                  const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec);
template <class T>
void norm3d_backward(View<T> dx, float* dgamma, float* dbeta, float* dslope, View<const T> dy,
                     View<const T> x, const float* mean, const float* variance, const float* gamma,
                     const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec);
void norm3d_moments_to_statistics(float* mean, float* variance, const float* partials, int64_t groups,
                                  int64_t pieces, int64_t channels, int64_t count, const Exec& exec);
void norm3d_add_gradients(float* means, const NormGradients& gradients, const NormGradientSums& sums,
                          const InputNorm& norm, const Exec& exec);
void norm3d_add_gradients(float* means, const NormGradients& gradients, View<const bfloat16> dy,
                          View<const bfloat16> x, const InputNorm& norm, const Exec& exec);
void norm3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, View<const bfloat16> x,
                           const InputNorm& norm, const float* means, const Exec& exec);
/// NormGradientSums of one piece and two columns, [groups, channels, 2], from a pass over dy and x: for ops
/// whose kernel does not sum on its way.
void norm3d_gradient_sums(float* sums, View<const bfloat16> dy, View<const bfloat16> x, const InputNorm& norm,
                          const Exec& exec);
/// ... from more pieces, added in double and in order.
void norm3d_join_pieces(float* sums, const NormGradientSums& pieces, const Exec& exec);
void norm3d_update_running(float* running_mean, float* running_variance, const float* mean,
                           const float* variance, int64_t channels, int64_t count, float momentum,
                           const Exec& exec);
}  // namespace cuda

}  // namespace vg::kernels
