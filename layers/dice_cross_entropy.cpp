#include "layers/dice_cross_entropy.h"

#include "kernels/common/check.h"
#include "layers/elementwise.h"

namespace vg {

Tensor dice_cross_entropy_loss(const Tensor& logits, const Tensor& labels,
                               const DiceCrossEntropyParams& params, const Tensor& class_weights) {
  kernels::require(params.dice.reduction != LossReduction::none,
                   "dice_cross_entropy_loss: reduction `none` is for dice_loss alone");
  const auto dice = [&] {
    return scale(dice_loss(logits, labels, params.dice, class_weights), params.lambda_dice);
  };
  const auto cross_entropy = [&] {
    const CrossEntropyParams reduction{.mean = params.dice.reduction == LossReduction::mean};
    return scale(cross_entropy_loss(logits, labels, reduction, class_weights), params.lambda_ce);
  };
  if (params.lambda_ce == 0) return dice();
  if (params.lambda_dice == 0) return cross_entropy();
  return add(dice(), cross_entropy());
}

}  // namespace vg
