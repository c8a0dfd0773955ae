// A norm that is left to those who read its result (gate and merge of a level), against one that is stored.
#ifdef VOXGRAD_WITH_CUDA

#include "layers/attention_gate.h"
#include "layers/concat.h"
#include "layers/conv3d.h"
#include "layers/conv_transpose3d.h"
#include "layers/dice.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using UnstoredNormTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, UnstoredNormTest, ::testing::Values(Device::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

// Result and gradients of everything that reads the norm or that it reads.
std::vector<std::vector<float>> run(int64_t channels, bool stored) {
  const Device device = Device::cuda;
  Tensor coarse = random_activation({2, 2, 2, 3, 2 * channels}, 1, device).detach().to(DType::bfloat16),
         skip = random_activation({2, 4, 4, 6, channels}, 2, device).detach().to(DType::bfloat16);
  coarse.set_requires_grad(true);
  skip.set_requires_grad(true);
  const Tensor up = random_parameter({2 * channels, channels, 3, 3, 3}, 3, device),
               merge = random_parameter({channels, 2 * channels, 3, 3, 3}, 4, device, -0.1f, 0.1f);
  const BatchNorm3d norm(channels, device);
  set_values(norm.weight(), uniform(channels, 5, 0.5f, 1.5f));
  set_values(norm.bias(), uniform(channels, 6, 0.2f, 1));
  AttentionGate gate(channels, channels, channels / 2, device);
  uint32_t seed = 10;
  for (const auto& [name, tensor] : gate.named_parameters())
    set_values(tensor, uniform(tensor.elements(), ++seed));

  const FusedActivation relu{.params = {.kind = ActivationKind::relu}};
  const Tensor both = Tensor::activation_like(skip, 2 * channels), for_gated = both.channels(0, channels),
               for_lower = both.channels(channels, 2 * channels);
  const ConvTranspose3dParams up_params{.in_channels = 2 * channels, .out_channels = channels};
  const Conv3dParams merge_params{.in_channels = 2 * channels, .out_channels = channels};
  ChannelStatistics of_upsampled{}, of_merged{.per_instance = true};
  Tensor y;
  if (stored) {
    const Tensor u = conv_transpose3d(coarse, up, {}, up_params, &of_upsampled);
    const Tensor g = norm(u, relu, {for_lower, of_upsampled});
    y = conv3d(concat({gate(g, skip, for_gated), g}), merge, {}, merge_params, &of_merged);
  } else {
    const Tensor u = conv_transpose3d(coarse, up, {}, up_params, &of_upsampled, for_lower);
    const UnstoredNorm g = norm.unstored(u, of_upsampled, relu);
    y = conv3d_of_unstored(concat({gate(g.x, skip, for_gated, g.norm), g.x}), g.norm, merge, {}, merge_params,
                           of_merged);
  }
  const Tensor z = instance_norm(y, {}, {}, {}, 1e-5f, {{}, of_merged});
  const Tensor loss = dice_loss(z, random_labels({2, 4, 4, 6, 1}, 7, static_cast<int>(channels), device));
  loss.backward();
  std::vector<std::vector<float>> results = {z.to(DType::float32).values(),
                                             coarse.grad().to(DType::float32).values(),
                                             skip.grad().to(DType::float32).values()};
  for (const Tensor& t : {up, merge, norm.weight(), norm.bias()}) results.push_back(t.grad().values());
  for (const auto& [name, tensor] : gate.named_parameters()) results.push_back(tensor.grad().values());
  for (const Tensor& t : {norm.running_mean(), norm.running_var()}) results.push_back(t.values());
  return results;
}

void expect_alike(const std::vector<float>& unstored, const std::vector<float>& stored, bool behind_norm) {
  if (!behind_norm) {
    EXPECT_EQ(unstored, stored);
    return;
  }
  double largest = 0;
  for (const float value : stored) largest = std::max<double>(largest, std::abs(value));
  EXPECT_TRUE(all_close(unstored, stored, largest / 128, 0));
}

// The same bits forward and of the gradients that come before the norm's; its own are sums over floats
// instead of what is stored of them.
TEST_P(UnstoredNormTest, GivesWhatAStoredOneGives) {
  for (const int64_t channels : {16, 32, 64}) {
    const auto unstored = run(channels, false), stored = run(channels, true);
    EXPECT_EQ(unstored, run(channels, false)) << "the same bits again";
    for (size_t i = 0; i < stored.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "result " << i << ", " << channels << " channels");
      const bool behind_norm = i == 1 || i == 3 || i == 5 || i == 6;  // coarse, up, the norm's
      expect_alike(unstored[i], stored[i], behind_norm);
    }
  }
}

// As run(), of a norm whose result a gate and a convolution of stride 2 read, which the gate's other input
// comes from: a level of the network.
std::vector<std::vector<float>> run_skip(int64_t channels, bool stored) {
  const Device device = Device::cuda;
  Tensor x = random_activation({2, 4, 4, 6, 16}, 1, device).detach().to(DType::bfloat16);
  x.set_requires_grad(true);
  const Tensor weight = random_parameter({channels, 16, 3, 3, 3}, 2, device, -0.2f, 0.2f),
               down = random_parameter({2 * channels, channels, 3, 3, 3}, 3, device, -0.1f, 0.1f),
               up = random_parameter({2 * channels, channels, 3, 3, 3}, 4, device, -0.1f, 0.1f);
  const BatchNorm3d norm(channels, device);
  set_values(norm.weight(), uniform(channels, 5, 0.5f, 1.5f));
  set_values(norm.bias(), uniform(channels, 6, 0.2f, 1));
  AttentionGate gate(channels, channels, channels / 2, device);
  uint32_t seed = 10;
  for (const auto& [name, tensor] : gate.named_parameters())
    set_values(tensor, uniform(tensor.elements(), ++seed));

  const FusedActivation relu{.params = {.kind = ActivationKind::relu}};
  const Conv3dParams params{.in_channels = 16, .out_channels = channels},
      down_params{.in_channels = channels, .out_channels = 2 * channels, .stride = 2};
  ChannelStatistics of_u{}, of_lower{};
  const Tensor u = conv3d(x, weight, {}, params, &of_u);
  UnstoredNorm t;
  if (stored) {
    t.x = norm(u, relu, {{}, of_u});
  } else {
    t = norm.unstored(u, of_u, relu);
  }
  const Tensor lower = stored ? conv3d(t.x, down, {}, down_params, &of_lower)
                              : conv3d_of_unstored(t.x, t.norm, down, {}, down_params, of_lower);
  const Tensor coarse = batch_norm(lower, {}, {}, {}, {}, {}, {{}, of_lower});
  const Tensor upsampled =
      conv_transpose3d(coarse, up, {}, {.in_channels = 2 * channels, .out_channels = channels});
  const Tensor z = gate(upsampled, t.x, {}, {}, t.norm);
  const Tensor loss = dice_loss(z, random_labels({2, 4, 4, 6, 1}, 7, static_cast<int>(channels), device));
  loss.backward();
  std::vector<std::vector<float>> results = {z.to(DType::float32).values(),
                                             x.grad().to(DType::float32).values()};
  for (const Tensor& t_ : {weight, norm.weight(), norm.bias(), down, up})
    results.push_back(t_.grad().values());
  for (const auto& [name, tensor] : gate.named_parameters()) results.push_back(tensor.grad().values());
  return results;
}

TEST_P(UnstoredNormTest, BeforeASkipConnection) {
  for (const int64_t channels : {16}) {
    const auto unstored = run_skip(channels, false), stored = run_skip(channels, true);
    EXPECT_EQ(unstored, run_skip(channels, false)) << "the same bits again";
    for (size_t i = 0; i < stored.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "result " << i << ", " << channels << " channels");
      expect_alike(unstored[i], stored[i], /*behind_norm=*/i > 0 && i < 5);
    }
  }
}

TEST_P(UnstoredNormTest, WrongArgumentsAreErrors) {
  const Tensor x = random_activation({1, 2, 2, 2, 16}, 1, Device::cuda);
  const BatchNorm3d norm(16, Device::cuda);
  const ChannelStatistics of_x = ChannelStatistics::empty_for(x, false);
  EXPECT_THROW((void)norm.unstored(x, of_x, {}), std::invalid_argument) << "float32";
  const Tensor weight = random_parameter({16, 8, 3, 3, 3}, 2, Device::cuda);
  ChannelStatistics found{};
  EXPECT_THROW(conv3d_of_unstored(x.to(DType::bfloat16).channels(0, 8), {.statistics = of_x}, weight, {},
                                  {.in_channels = 8, .out_channels = 16}, found),
               std::invalid_argument)
      << "more channels of the norm than of x";
}

}  // namespace
}  // namespace vg::test

#endif
