// The soft Dice loss.
#pragma once

#include "engine/tensor.h"
#include "kernels/dice/dice.h"

namespace vg {

using kernels::DiceActivation;
using kernels::DiceParams;
using kernels::LossReduction;

/// MONAI's DiceLoss, softmax or sigmoid included. logits: [N, D, H, W, C]; labels: uint8 activation, class
/// indices [N, D, H, W, 1] or regions [N, D, H, W, C] of 0 and 1; class_weights: [C], or without that
/// of a background left out, or undefined. Returns [1], or for reduction `none` [N or 1, channels that
/// count].
Tensor dice_loss(const Tensor& logits, const Tensor& labels, const DiceParams& params = {},
                 const Tensor& class_weights = {});

}  // namespace vg
