#include "layers/norm3d.h"

#include "layers/elementwise.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using Norm3dLayerTest = DeviceTest;
VG_ON_EVERY_DEVICE(Norm3dLayerTest);

const Shape shape = {2, 2, 2, 3, 3};
const GradientCheck few{.tolerance = 4e-3, .most_elements = 16};

struct Inputs {
  Tensor x, weight, bias, mean, variance;
};
Inputs make_inputs(Device device) {
  return {random_activation(shape, 1, device, -2, 3), random_parameter({3}, 2, device, 0.5f, 1.5f),
          random_parameter({3}, 3, device), random_parameter({3}, 4, device).detach(),
          random_parameter({3}, 5, device, 0.5f, 2).detach()};
}

FusedActivation fused(ActivationKind kind) {
  return {.params = {.kind = kind, .negative_slope = 0.3f}};
}

TEST_P(Norm3dLayerTest, BatchNormNormalises) {
  const Inputs in = make_inputs(device());
  const std::vector<float> y = batch_norm(in.x, {}, {}, {}, {}).values();
  for (size_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (size_t i = c; i < y.size(); i += 3) {
      sum += y[i];
      squares += double{y[i]} * y[i];
    }
    EXPECT_NEAR(sum / 24, 0, 1e-6);
    EXPECT_NEAR(squares / 24, 1, 1e-4);
  }
}

TEST_P(Norm3dLayerTest, RunningStatisticsFollowPyTorch) {
  // Values 1, 3: mean 2, unbiased variance 2.
  const Tensor x = activation_from({1, 1, 1, 2, 1}, {1, 3}, device());
  const Tensor mean = Tensor::full({1}, 1, device()), variance = Tensor::full({1}, 4, device());
  const Tensor y = batch_norm(x, {}, {}, mean, variance, {.momentum = 0.25f});
  EXPECT_NEAR(mean.item(), 1.25, 1e-6);
  EXPECT_NEAR(variance.item(), 3.5, 1e-6);
  EXPECT_NEAR(y.values()[0], -1, 1e-4);
  const Tensor z = batch_norm(x, {}, {}, mean, variance, {.training = false, .eps = 0});
  EXPECT_NEAR(z.values()[1], 1.75 / std::sqrt(3.5), 1e-6);
  EXPECT_NEAR(mean.item(), 1.25, 1e-6);
}

TEST_P(Norm3dLayerTest, GradientsOfBatchNorm) {
  const Inputs in = make_inputs(device());
  for (const bool training : {true, false}) {
    check_gradients(
        [&](const auto& t) {
          return batch_norm(t[0], t[1], t[2], in.mean.clone(), in.variance, {.training = training});
        },
        {in.x, in.weight, in.bias}, few);
  }
  check_gradients([&](const auto& t) { return batch_norm(t[0], {}, {}, {}, {}); }, {in.x}, few);
}

TEST_P(Norm3dLayerTest, GradientsOfInstanceNorm) {
  const Inputs in = make_inputs(device());
  check_gradients([](const auto& t) { return instance_norm(t[0], t[1], t[2]); }, {in.x, in.weight, in.bias},
                  few);
  check_gradients([](const auto& t) { return instance_norm(t[0], {}, {}); }, {in.x}, few);
  // A moved-in input is kept for backward, not overwritten.
  check_gradients([](const auto& t) { return instance_norm(scale(t[0], 2), {}, {}); }, {in.x}, few);
  // Frozen parameters: the others' gradients are as before.
  check_gradients([](const auto& t) { return instance_norm(t[0], t[1], t[2]); },
                  {in.x, in.weight.detach(), in.bias}, few);
}

// Differences are useless near the kinks: what is fused must do as the two ops do.
TEST_P(Norm3dLayerTest, FusedActivationsAreNormThenActivation) {
  const std::vector<float> weights = uniform(product(shape), 9);
  for (const ActivationKind kind :
       {ActivationKind::relu, ActivationKind::leaky_relu, ActivationKind::prelu}) {
    for (const int64_t slopes : {1, 3}) {
      std::vector<std::vector<float>> results[2];
      for (const bool fuse : {false, true}) {
        const Inputs in = make_inputs(device());
        FusedActivation activation = fused(kind);
        if (kind == ActivationKind::prelu) activation.slope = random_parameter({slopes}, 6, device());
        Tensor y;
        if (fuse) {
          y = batch_norm(in.x, in.weight, in.bias, {}, {}, {.activation = activation});
        } else {
          y = batch_norm(in.x, in.weight, in.bias, {}, {});
          y = kind == ActivationKind::relu         ? relu(y)
              : kind == ActivationKind::leaky_relu ? leaky_relu(y, 0.3f)
                                                   : prelu(y, activation.slope);
        }
        weighted_sum(y, weights).backward();
        results[fuse] = {y.values(), in.x.grad().values(), in.weight.grad().values(),
                         in.bias.grad().values()};
        if (activation.slope.defined()) results[fuse].push_back(activation.slope.grad().values());
      }
      for (size_t i = 0; i < results[0].size(); ++i) {
        EXPECT_TRUE(all_close(results[1][i], results[0][i], 2e-5, 2e-5)) << "result " << i;
      }
    }
  }
}

TEST_P(Norm3dLayerTest, WorksInPlaceWhenNothingIsRecorded) {
  const Inputs in = make_inputs(device());
  const Tensor kept = instance_norm(in.x, {}, {});
  const NoGradGuard guard;
  Tensor moved = in.x.clone();
  const float* const memory = moved.data<float>();
  const Tensor y = instance_norm(std::move(moved), {}, {});
  EXPECT_EQ(y.data<float>(), memory);
  EXPECT_EQ(y.values(), kept.values());
  EXPECT_NE(instance_norm(in.x, {}, {}).data<float>(), in.x.data<float>());
}

TEST_P(Norm3dLayerTest, ModulesHavePyTorchsStateAndModes) {
  BatchNorm3d norm(3, device());
  std::vector<std::string> names;
  for (const auto& [name, tensor] : norm.state()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"weight", "bias", "running_mean", "running_var",
                                             "num_batches_tracked"}));
  EXPECT_EQ(norm.named_parameters().size(), 2u);
  EXPECT_EQ(norm.weight().values(), std::vector<float>(3, 1));
  EXPECT_EQ(norm.running_var().values(), std::vector<float>(3, 1));
  const Inputs in = make_inputs(device());
  const Tensor y = norm(in.x);
  EXPECT_EQ(norm.state()[4].second.values<int64_t>()[0], 1);
  EXPECT_NE(norm.running_mean().values(), std::vector<float>(3, 0));
  norm.train(false);
  const std::vector<float> running = norm.running_mean().values();
  EXPECT_NE(norm(in.x).values(), y.values());
  EXPECT_EQ(norm.running_mean().values(), running);
  EXPECT_EQ(norm.state()[4].second.values<int64_t>()[0], 1);

  EXPECT_TRUE(InstanceNorm3d(3, false, device()).state().empty());
  const InstanceNorm3d affine(3, true, device());
  EXPECT_EQ(affine.state().size(), 2u);
  const PReLU prelu_layer(1, device());
  const FusedActivation activation{.params = {.kind = ActivationKind::prelu}, .slope = prelu_layer.weight()};
  const Tensor z = affine(in.x, activation);
  EXPECT_TRUE(all_close(z.values(), prelu_layer(affine(in.x)).values(), 1e-6));
  weighted_sum(z, uniform(z.elements(), 1)).backward();
  EXPECT_TRUE(prelu_layer.weight().grad().defined());
  EXPECT_TRUE(affine.weight().grad().defined());
}

TEST_P(Norm3dLayerTest, WrongArgumentsAreErrors) {
  const Inputs in = make_inputs(device());
  const Tensor one_voxel = random_activation({1, 1, 1, 1, 3}, 1, device());
  EXPECT_THROW(batch_norm(one_voxel, {}, {}, {}, {}), std::invalid_argument);
  EXPECT_NO_THROW(batch_norm(one_voxel, {}, {}, in.mean, in.variance, {.training = false}));
  EXPECT_THROW(instance_norm(random_activation({2, 1, 1, 1, 3}, 1, device()), {}, {}), std::invalid_argument);
  EXPECT_THROW(batch_norm(in.x, in.weight, {}, {}, {}), std::invalid_argument);
  EXPECT_THROW(batch_norm(in.x, {}, {}, {}, {}, {.training = false}), std::invalid_argument);
  EXPECT_THROW(batch_norm(in.x, {}, {}, in.mean, {}), std::invalid_argument);
  EXPECT_THROW(batch_norm(in.x, random_parameter({2}, 1, device()), in.bias, {}, {}), std::invalid_argument);
  EXPECT_THROW(instance_norm(in.x, {}, {}, fused(ActivationKind::prelu)), std::invalid_argument);
  EXPECT_THROW(InstanceNorm3d(4, false, device())(in.x), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
