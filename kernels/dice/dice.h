// The soft Dice loss with the options of MONAI 1.4's DiceLoss, fused with the softmax or sigmoid before it.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

enum class LossReduction : uint8_t { mean, sum, none };
enum class DiceActivation : uint8_t { none, sigmoid, softmax };

/// MONAI's defaults. The seed's loss is {softmax, smooth_numerator 1, smooth_denominator 1}.
struct DiceParams {
  DiceActivation activation = DiceActivation::softmax;
  bool include_background =
      true;  ///< false leaves out channel 0 (ignored, as in MONAI, if there is only one channel)
  bool squared_prediction = false;  ///< squares in the denominator (V-Net)
  bool jaccard = false;             ///< the soft Jaccard index instead of Dice
  bool batch = false;               ///< sums over the batch before the ratio
  float smooth_numerator = 1e-5f;
  float smooth_denominator = 1e-5f;
  LossReduction reduction = LossReduction::mean;
};

/// Channels that count: C, or C - 1 without background.
constexpr int64_t dice_channels(int64_t c, const DiceParams& p) {
  return p.include_background || c == 1 ? c : c - 1;
}
/// Values of the loss: 1, or for reduction `none` (batch ? 1 : N) * dice_channels.
constexpr int64_t dice_loss_count(int64_t n, int64_t c, const DiceParams& p) {
  return p.reduction == LossReduction::none ? (p.batch ? 1 : n) * dice_channels(c, p) : 1;
}
/// Floats of `sums`: intersection, prediction and target for each (n, c).
constexpr int64_t dice_sums_count(int64_t n, int64_t c) {
  return n * c * 3;
}

/// loss[dice_loss_count] = 1 - (2 I + smooth_nr) / (P + T + smooth_dr), weighted per class and reduced;
/// overwrites loss and sums. sums [N, C, 3] is kept for backward. logits: [N,D,H,W,C]. labels: [N,D,H,W,1]
/// with class indices (at most 256 classes; a label not below C belongs to no class: its target is 0 in every
/// channel), or [N,D,H,W,C] with 0 and 1 (overlapping regions; anything but 0 counts as 1). With one channel
/// of logits, labels are such a mask and softmax is not applied, as in MONAI. class_weights: [dice_channels]
/// or null; ignored, as in MONAI, if only one channel counts; not negative (not checked). Same bits for any
/// thread count; sums in double.
void dice_forward(float* loss, float* sums, View<const float> logits, View<const uint8_t> labels,
                  const float* class_weights, const DiceParams& params, const Exec& exec);

/// dlogits from dloss[dice_loss_count] and forward's sums, in one pass; overwrites dlogits.
void dice_backward(View<float> dlogits, const float* dloss, const float* sums, View<const float> logits,
                   View<const uint8_t> labels, const float* class_weights, const DiceParams& params,
                   const Exec& exec);

/// The same for bfloat16 activations, on CUDA only: computed in float; dlogits is rounded once.
void dice_forward(float* loss, float* sums, View<const bfloat16> logits, View<const uint8_t> labels,
                  const float* class_weights, const DiceParams& params, const Exec& exec);
void dice_backward(View<bfloat16> dlogits, const float* dloss, const float* sums, View<const bfloat16> logits,
                   View<const uint8_t> labels, const float* class_weights, const DiceParams& params,
                   const Exec& exec);

}  // namespace vg::kernels
