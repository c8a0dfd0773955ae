// The sum of Dice and cross-entropy.
#pragma once

#include "layers/cross_entropy.h"
#include "layers/dice.h"

namespace vg {

struct DiceCrossEntropyParams {
  DiceParams dice = {};
  float lambda_dice = 1;
  float lambda_ce = 1;
};

/// lambda_dice * dice_loss + lambda_ce * cross_entropy_loss, as MONAI's DiceCELoss with class indices as
/// labels [N, D, H, W, 1]; class_weights [C] and Dice's reduction (mean or sum) go for both. A term with
/// factor 0 is not computed. Returns [1]; throws std::invalid_argument for the reduction `none`.
Tensor dice_cross_entropy_loss(const Tensor& logits, const Tensor& labels,
                               const DiceCrossEntropyParams& params = {}, const Tensor& class_weights = {});

}  // namespace vg
