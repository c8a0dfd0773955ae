#pragma once

#include "kernels/common/dispatch.h"
#include "kernels/dice/dice.h"

namespace vg::kernels {

VG_DECLARE_IMPLEMENTATIONS(void dice_forward(float* loss, float* sums, View<const float> logits,
                                             View<const uint8_t> labels, const float* class_weights,
                                             const DiceParams& params, const Exec& exec);
                           void dice_backward(View<float> dlogits, const float* dloss, const float* sums,
                                              View<const float> logits, View<const uint8_t> labels,
                                              const float* class_weights, const DiceParams& params,
                                              const Exec& exec);)

namespace cuda {
void dice_forward(float* loss, float* sums, View<const bfloat16> logits, View<const uint8_t> labels,
                  const float* class_weights, const DiceParams& params, const Exec& exec);
void dice_backward(View<bfloat16> dlogits, const float* dloss, const float* sums, View<const bfloat16> logits,
                   View<const uint8_t> labels, const float* class_weights, const DiceParams& params,
                   const Exec& exec);
}  // namespace cuda

/// Order of the three sums of a sample and channel.
enum DiceSum { intersection_sum, prediction_sum, target_sum, dice_sum_count };

/// Where a loss value comes from: the shape [N, C], and what MONAI makes of the parameters for it.
struct DiceShape {
  int64_t n, c;
  DiceParams params;

  /// Channels that do not count come first.
  VG_INLINE int64_t first_channel() const { return params.include_background || c == 1 ? 0 : 1; }
  VG_INLINE int64_t channels() const { return c - first_channel(); }
  /// Groups of samples with a ratio of their own.
  VG_INLINE int64_t groups() const { return params.batch ? 1 : n; }
  VG_INLINE int64_t values() const { return groups() * channels(); }
  VG_INLINE DiceActivation activation() const {
    return params.activation == DiceActivation::softmax && c == 1 ? DiceActivation::none : params.activation;
  }
  /// Weight of counted channel k. MONAI ignores the weights if only one channel counts.
  VG_INLINE double weight(const float* class_weights, int64_t k) const {
    return class_weights == nullptr || channels() == 1 ? 1.0 : static_cast<double>(class_weights[k]);
  }
};

/// 1 - numerator / denominator of one ratio.
struct DiceRatio {
  double numerator, denominator;
};

VG_INLINE DiceRatio dice_ratio(const DiceShape& shape, const float* sums, int64_t group, int64_t k) {
  double total[dice_sum_count] = {};
  const int64_t first = shape.params.batch ? 0 : group, last = shape.params.batch ? shape.n - 1 : group;
  for (int64_t n = first; n <= last; ++n) {
    for (int s = 0; s < dice_sum_count; ++s)
      total[s] += static_cast<double>(sums[(n * shape.c + shape.first_channel() + k) * dice_sum_count + s]);
  }
  double denominator = total[target_sum] + total[prediction_sum];
  if (shape.params.jaccard) denominator = 2 * (denominator - total[intersection_sum]);
  return {2 * total[intersection_sum] + static_cast<double>(shape.params.smooth_numerator),
          denominator + static_cast<double>(shape.params.smooth_denominator)};
}

/// Weighted loss of one ratio, before the reduction.
VG_INLINE double dice_value(const DiceShape& shape, const float* sums, const float* class_weights,
                            int64_t group, int64_t k) {
  const DiceRatio r = dice_ratio(shape, sums, group, k);
  return (1 - r.numerator / r.denominator) * shape.weight(class_weights, k);
}

/// Overwrites loss[dice_loss_count].
VG_INLINE void dice_reduce(float* loss, const DiceShape& shape, const float* sums,
                           const float* class_weights) {
  double total = 0;
  for (int64_t i = 0; i < shape.values(); ++i) {
    const double value = dice_value(shape, sums, class_weights, i / shape.channels(), i % shape.channels());
    if (shape.params.reduction == LossReduction::none) loss[i] = static_cast<float>(value);
    total += value;
  }
  if (shape.params.reduction == LossReduction::mean) total /= static_cast<double>(shape.values());
  if (shape.params.reduction != LossReduction::none) loss[0] = static_cast<float>(total);
}

/// What a voxel of sample n needs to know about channel c: dL/dp = of_target * t + of_prediction * (p if
/// squared_prediction else 1).
struct DiceSlopes {
  float of_target, of_prediction;
};

VG_INLINE DiceSlopes dice_slopes(const DiceShape& shape, const float* dloss, const float* sums,
                                 const float* class_weights, int64_t n, int64_t c) {
  const int64_t k = c - shape.first_channel(), group = shape.params.batch ? 0 : n;
  if (k < 0) return {0, 0};
  const bool none = shape.params.reduction == LossReduction::none;
  double gradient = static_cast<double>(dloss[none ? group * shape.channels() + k : 0]);
  if (shape.params.reduction == LossReduction::mean) gradient /= static_cast<double>(shape.values());
  gradient *= shape.weight(class_weights, k);

  const DiceRatio r = dice_ratio(shape, sums, group, k);
  const double of_denominator = gradient * r.numerator / (r.denominator * r.denominator);
  const double scale = shape.params.jaccard ? 2 : 1;  // the denominator's slope in P, and minus that in I
  const double of_intersection =
      -2 * gradient / r.denominator - (shape.params.jaccard ? scale * of_denominator : 0);
  return {static_cast<float>(of_intersection),
          static_cast<float>(of_denominator * scale * (shape.params.squared_prediction ? 2 : 1))};
}

}  // namespace vg::kernels
