// Every option of MONAI's DiceLoss, cross-entropy and DiceCELoss against values and gradients from MONAI and
// PyTorch.
#include <fstream>

#include "engine/autograd.h"
#include "layers/dice_cross_entropy.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/golden.h"

namespace vg::test {
namespace {

using Json = nlohmann::json;
using LossesGoldenTest = DeviceTest;
VG_ON_EVERY_DEVICE(LossesGoldenTest);

DiceParams dice_params(const Json& c) {
  DiceParams p;
  const std::string activation = c.value("activation", "softmax"), reduction = c.value("reduction", "mean");
  p.activation = activation == "softmax"   ? DiceActivation::softmax
                 : activation == "sigmoid" ? DiceActivation::sigmoid
                                           : DiceActivation::none;
  p.reduction = reduction == "mean"  ? LossReduction::mean
                : reduction == "sum" ? LossReduction::sum
                                     : LossReduction::none;
  p.include_background = c.value("include_background", true);
  p.squared_prediction = c.value("squared_pred", false);
  p.jaccard = c.value("jaccard", false);
  p.batch = c.value("batch", false);
  p.smooth_numerator = c.value("smooth_nr", 1e-5f);
  p.smooth_denominator = c.value("smooth_dr", 1e-5f);
  return p;
}

Tensor loss_of(const Json& c, const Tensor& input, const Tensor& labels, Device device) {
  Tensor weights;
  if (c.contains("weight") && !c.at("weight").is_null()) {
    const auto values = c.at("weight").get<std::vector<float>>();
    weights = Tensor::from_values({static_cast<int64_t>(values.size())}, values, device);
  }
  if (c.at("kind") == "dice") return dice_loss(input, labels, dice_params(c), weights);
  if (c.at("kind") == "cross_entropy")
    return cross_entropy_loss(input, labels, {c.value("reduction", "mean") == "mean"}, weights);
  return dice_cross_entropy_loss(
      input, labels, {dice_params(c), c.value("lambda_dice", 1.0f), c.value("lambda_ce", 1.0f)}, weights);
}

// Labels are N,D,H,W class indices, or N,C,D,H,W regions of 0 and 1.
Tensor labels_of(const Tensor& t, Device device) {
  if (t.shape().size() == 4) return golden_labels(t, device);
  const auto values = t.values<uint8_t>();
  const Tensor regions = golden_activation(
      Tensor::from_values(t.shape(), std::vector<float>(values.begin(), values.end())), Device::cpu);
  const auto ordered = regions.values();
  const Tensor labels =
      Tensor::activation(t.size(0), t.size(2), t.size(3), t.size(4), t.size(1), device, DType::uint8);
  const Tensor host =
      Tensor::from_values(labels.shape(), std::vector<uint8_t>(ordered.begin(), ordered.end()));
  labels.copy_from(host);
  return labels;
}

TEST_P(LossesGoldenTest, EqualMonaiAndPyTorch) {
  const Safetensors golden = load_golden("losses");
  std::ifstream file(VG_GOLDEN_DIR "/losses.json");
  const Json cases = Json::parse(file);
  ASSERT_GE(cases.size(), 290u);
  // An emulated GPU is slow: there every seventh case stands for the others, which share its kernels.
  const size_t stride = device() == Device::cpu ? 1 : 7;
  for (size_t i = 0; i < cases.size(); i += stride) {
    const Json& c = cases[i];
    const std::string name = c.at("case");
    Tensor input = golden_activation(golden.at(c.at("input")), device());
    input.set_requires_grad(true);
    const Tensor loss = loss_of(c, input, labels_of(golden.at(c.at("labels")), device()), device());
    const std::vector<float> expected = golden.at(name + "/loss").values();
    ASSERT_TRUE(all_close(loss.values(), expected, 1e-5, 1e-5)) << c.dump();
    run_backward(loss.autograd_meta(),
                 Tensor::from_values(loss.shape(), golden.at(name + "/upstream").values(), device()));
    const std::vector<float> gradient = golden.at(name + "/gradient").values();
    double largest = 0;
    for (float g : gradient) largest = std::max(largest, std::abs(static_cast<double>(g)));
    ASSERT_TRUE(all_close(input.grad().values_ncdhw(), gradient, 2e-5 * largest + 1e-9)) << c.dump();
  }
}

}  // namespace
}  // namespace vg::test
