// Batch and instance normalisation with an activation fused behind them (PyTorch's BatchNorm3d,
// InstanceNorm3d).
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

struct Norm3dParams {
  bool per_instance =
      false;  ///< instance norm: statistics over D, H, W of each n; batch norm: over n as well
  float eps = 1e-5f;
  /// Statistics are constants (batch norm in inference mode): backward does not differentiate through them.
  bool fixed_statistics = false;
  ActivationParams activation{
      .kind = ActivationKind::identity};  ///< applied after the affine map; identity, relu, leaky_relu, prelu
};

/// Number of (mean, variance) pairs: C for batch norm, N * C (n outside) for instance norm.
constexpr int64_t norm3d_groups(int64_t n, int64_t c, const Norm3dParams& p) {
  return p.per_instance ? n * c : c;
}

/// mean[groups] and biased variance[groups] of x; overwrites. Shifted or pairwise sums: exact to float
/// rounding also where |mean| >> deviation. Same bits for any thread count.
void norm3d_statistics(float* mean, float* variance, View<const float> x, const Norm3dParams& params,
                       const Exec& exec);

/// norm3d_statistics, _apply and _backward for bfloat16 activations run on CUDA only (they throw
/// std::invalid_argument on the CPU): they compute in float and round results once, to nearest, ties to even.
void norm3d_statistics(float* mean, float* variance, View<const bfloat16> x, const Norm3dParams& params,
                       const Exec& exec);

/// The second half of norm3d_statistics for a kernel that has x at hand, on CUDA only: mean[groups *
/// channels] and biased variance from sums over pieces of the groups; overwrites. partials[groups * pieces,
/// channels, 2]: sum and sum of squares of each piece's values, pieces of a group behind each other; groups
/// is 1 for batch norm, N for instance norm; `count` = values per group and channel. Added in double and in
/// order: the error of the variance is that of the pieces' float sums, about 2^-24 (mean^2 + variance), good
/// where |mean| is within some hundred deviations.
void norm3d_moments_to_statistics(float* mean, float* variance, const float* partials, int64_t groups,
                                  int64_t pieces, int64_t channels, int64_t count, const Exec& exec);

/// Where a convolution leaves the mean and the biased variance of its output's channels, for the norm behind
/// it: [C] each, or per instance [N, C].
struct OutputStatistics {
  float* mean = nullptr;
  float* variance = nullptr;
  bool per_instance = false;
};

/// y = act((x - mean) / sqrt(variance + eps) * gamma + beta); overwrites y; y may be x.
/// gamma, beta: [C] or both null (no affine map); slope: [slope_count] for prelu, else null.
void norm3d_apply(View<float> y, View<const float> x, const float* mean, const float* variance,
                  const float* gamma, const float* beta, const float* slope, const Norm3dParams& params,
                  const Exec& exec);
void norm3d_apply(View<bfloat16> y, View<const bfloat16> x, const float* mean, const float* variance,
                  const float* gamma, const float* beta, const float* slope, const Norm3dParams& params,
                  const Exec& exec);

/// Gradient of norm3d_apply(norm3d_statistics(x), x). Overwrites dx (dx may be dy); accumulates into
/// dgamma[C], dbeta[C] (both null without affine map) and dslope[slope_count] (null if not prelu). Same bits
/// for any thread count.
void norm3d_backward(View<float> dx, float* dgamma, float* dbeta, float* dslope, View<const float> dy,
                     View<const float> x, const float* mean, const float* variance, const float* gamma,
                     const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec);
void norm3d_backward(View<bfloat16> dx, float* dgamma, float* dbeta, float* dslope, View<const bfloat16> dy,
                     View<const bfloat16> x, const float* mean, const float* variance, const float* gamma,
                     const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec);

/// running = (1 - momentum) * running + momentum * batch, with the unbiased variance, `count` = values per
/// group: PyTorch's update of BatchNorm. All [C].
void norm3d_update_running(float* running_mean, float* running_variance, const float* mean,
                           const float* variance, int64_t channels, int64_t count, float momentum,
                           const Exec& exec);

/// A norm with its activation that a convolution applies to its input: the arguments of norm3d_apply.
struct InputNorm {
  const float* mean = nullptr;
  const float* variance = nullptr;
  const float* gamma = nullptr;
  const float* beta = nullptr;
  const float* slope = nullptr;
  Norm3dParams params = {};
  /// Where the norm's channels begin in the input: those before it are taken as they are, and have no
  /// parameters. A multiple of 8.
  int64_t first_channel = 0;
};

/// Where the gradients of a norm's parameters are added: [C], [C], [slope_count]; null without a parameter.
struct NormGradients {
  float* gamma = nullptr;
  float* beta = nullptr;
  float* slope = nullptr;
};

/// norm3d_backward in two halves, on CUDA only, for a kernel that makes dy and sums what the norm needs of it
/// on the way. The first half: from sums over pieces of the groups adds to the gradients of the parameters
/// and overwrites means[2, groups * channels], which the second half needs. partials[groups * pieces,
/// channels, columns], pieces of a group behind each other: the piece's sums of dv = dy act'(v) and of dv (x
/// - mean), where v is the value before the activation, and in a third column, which prelu needs, of dy
/// min(v, 0). `groups` is 1 for batch norm, N for instance norm; `count` = values per group and channel.
/// Added in double and in order.
struct NormGradientSums {
  const float* partials;
  int columns;  ///< 2 or 3
  int64_t groups, pieces, channels, count;
};
void norm3d_add_gradients(float* means, const NormGradients& gradients, const NormGradientSums& sums,
                          const InputNorm& norm, const Exec& exec);
/// The first half in a pass over dy and x, for who has no sums.
void norm3d_add_gradients(float* means, const NormGradients& gradients, View<const bfloat16> dy,
                          View<const bfloat16> x, const InputNorm& norm, const Exec& exec);
/// The second half: overwrites dx; dx may be dy.
void norm3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, View<const bfloat16> x,
                           const InputNorm& norm, const float* means, const Exec& exec);

/// What the second half makes dx from, for a kernel that makes it as it reads it, to the same bits.
struct NormInputGradient {
  View<const bfloat16> dy, x;
  InputNorm norm;
  const float* means;
};

}  // namespace vg::kernels
