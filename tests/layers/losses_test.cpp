// dice, cross_entropy and dice_cross_entropy.
#include "layers/dice_cross_entropy.h"
#include "layers/elementwise.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using LossesTest = DeviceTest;
VG_ON_EVERY_DEVICE(LossesTest);

const Shape shape = {2, 1, 2, 3, 4}, one_channel = {2, 1, 2, 3, 1};
const GradientCheck few{.step = 2e-2f, .tolerance = 1e-3, .most_elements = 16};

struct Inputs {
  Tensor logits, labels, weights;
};
Inputs make_inputs(Device device) {
  return {random_activation(shape, 1, device, -2, 2), random_labels(one_channel, 2, 4, device),
          random_parameter({4}, 3, device, 0.5f, 2).detach()};
}

TEST_P(LossesTest, ValuesOfUniformLogits) {
  const Tensor logits = activation_from(shape, std::vector<float>(48, 0), device());
  const Tensor labels = random_labels(one_channel, 2, 1, device());  // all zero
  EXPECT_NEAR(cross_entropy_loss(logits, labels).item(), std::log(4.0), 1e-6);
  // Each sample has 6 voxels of class 0, with probability 1/4: I = 1.5, P = 1.5, T = 6; others I = T = 0.
  const DiceParams p{.smooth_numerator = 1, .smooth_denominator = 1};
  const double expected = 1 - (4 / 8.5 + 3 * (1 / 2.5)) / 4;
  EXPECT_NEAR(dice_loss(logits, labels, p).item(), expected, 1e-6);
  DiceParams none = p;
  none.reduction = LossReduction::none;
  const Tensor each = dice_loss(logits, labels, none);
  EXPECT_EQ(each.shape(), (Shape{2, 4}));
  EXPECT_NEAR(each.values()[4], 1 - 4 / 8.5, 1e-6);
  none.batch = true;
  none.include_background = false;
  EXPECT_EQ(dice_loss(logits, labels, none).shape(), (Shape{1, 3}));
}

TEST_P(LossesTest, GradientsOfDice) {
  const Inputs in = make_inputs(device());
  const DiceParams variants[] = {
      {},
      {.activation = DiceActivation::sigmoid, .include_background = false},
      {.squared_prediction = true, .batch = true},
      {.reduction = LossReduction::none},
      {.jaccard = true, .smooth_numerator = 1, .smooth_denominator = 1, .reduction = LossReduction::sum}};
  for (const DiceParams& p : variants) {
    check_gradients([&](const auto& t) { return dice_loss(t[0], in.labels, p); }, {in.logits}, few);
  }
  check_gradients([&](const auto& t) { return dice_loss(t[0], in.labels, {}, in.weights); }, {in.logits},
                  few);
  // Overlapping regions: one channel of labels for each channel of logits.
  const Tensor regions = random_labels(shape, 5, 2, device());
  check_gradients(
      [&](const auto& t) { return dice_loss(t[0], regions, {.activation = DiceActivation::sigmoid}); },
      {in.logits}, few);
}

TEST_P(LossesTest, GradientsOfCrossEntropy) {
  const Inputs in = make_inputs(device());
  for (const bool mean : {true, false}) {
    check_gradients([&](const auto& t) { return cross_entropy_loss(t[0], in.labels, {.mean = mean}); },
                    {in.logits}, few);
    check_gradients(
        [&](const auto& t) { return cross_entropy_loss(t[0], in.labels, {.mean = mean}, in.weights); },
        {in.logits}, few);
  }
}

TEST_P(LossesTest, DiceCrossEntropyIsTheWeightedSum) {
  const Inputs in = make_inputs(device());
  const auto sum = [&](const DiceCrossEntropyParams& p) {
    return dice_cross_entropy_loss(in.logits, in.labels, p).item();
  };
  const float dice = dice_loss(in.logits, in.labels).item(),
              ce = cross_entropy_loss(in.logits, in.labels).item();
  EXPECT_NEAR(sum({}), dice + ce, 1e-6);
  EXPECT_NEAR(sum({.lambda_dice = 2, .lambda_ce = 0.5f}), 2 * dice + 0.5f * ce, 1e-6);
  EXPECT_NEAR(sum({.lambda_ce = 0}), dice, 1e-6);
  EXPECT_NEAR(sum({.lambda_dice = 0}), ce, 1e-6);
  check_gradients(
      [&](const auto& t) {
        return dice_cross_entropy_loss(t[0], in.labels, {.lambda_dice = 2, .lambda_ce = 0.5f});
      },
      {in.logits}, few);
  // Class weights of all classes serve Dice without background as well.
  const DiceParams foreground{.include_background = false};
  const std::vector<float> w = in.weights.values();
  const Tensor rest = Tensor::from_values<float>({3}, {w[1], w[2], w[3]}, device());
  EXPECT_NEAR(dice_cross_entropy_loss(in.logits, in.labels, {.dice = foreground}, in.weights).item(),
              dice_loss(in.logits, in.labels, foreground, rest).item() +
                  cross_entropy_loss(in.logits, in.labels, {}, in.weights).item(),
              1e-6);
  DiceCrossEntropyParams none;
  none.dice.reduction = LossReduction::none;
  EXPECT_THROW(sum(none), std::invalid_argument);
}

TEST_P(LossesTest, LossesFreeTheirTape) {
  const Inputs in = make_inputs(device());
  const Allocator& allocator = Context::get().allocator(device());
  dice_cross_entropy_loss(in.logits, in.labels).backward();
  const size_t before = allocator.statistics().bytes_in_use;
  const std::vector<float> once = in.logits.grad().values();
  dice_cross_entropy_loss(in.logits, in.labels).backward();
  EXPECT_EQ(allocator.statistics().bytes_in_use, before);
  std::vector<double> twice(once.begin(), once.end());
  for (double& v : twice) v *= 2;
  EXPECT_TRUE(all_close(in.logits.grad().values(), twice, 1e-7));
  EXPECT_EQ(in.labels.storage_use_count(), 1);
}

TEST_P(LossesTest, WrongArgumentsAreErrors) {
  const Inputs in = make_inputs(device());
  const Tensor other = random_labels({1, 1, 2, 3, 1}, 1, 4, device());
  EXPECT_THROW(dice_loss(in.logits, other), std::invalid_argument);
  EXPECT_THROW(dice_loss(in.logits, in.logits), std::invalid_argument);
  EXPECT_THROW(dice_loss(in.logits, {}), std::invalid_argument);
  EXPECT_THROW(cross_entropy_loss(in.logits, other), std::invalid_argument);
  const Tensor two = random_parameter({2}, 1, device());
  EXPECT_THROW(dice_loss(in.logits, in.labels, {}, two), std::invalid_argument);
  EXPECT_THROW(cross_entropy_loss(in.logits, in.labels, {}, two), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
