// A merge that makes its input of skip connection, scores and the rest as it reads them, against one that
// reads what gate and norm have stored.
#ifdef VOXGRAD_WITH_CUDA

#include "layers/gated_conv3d.h"

#include "layers/concat.h"
#include "layers/dice.h"
#include "layers/norm_conv3d.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using GatedConv3dTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, GatedConv3dTest, ::testing::Values(Device::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

struct Case {
  int64_t channels, width;
  bool narrow;  ///< four classes are made of the result, else a loss of all its channels
};

ChannelStatistics statistics_of(const Tensor& x) {
  ChannelStatistics of_x = ChannelStatistics::empty_for(x, false);
  kernels::norm3d_statistics(of_x.mean.data<float>(), of_x.variance.data<float>(), x.view<const bfloat16>(),
                             {}, Context::get().exec(x.device()));
  return of_x;
}

// Loss and gradients of everything.
std::vector<std::vector<float>> run(const Case& c, bool gated) {
  const Device device = Device::cuda;
  const int64_t channels = c.channels;
  Tensor skip =
             random_activation({2, 3, 5, c.width, channels}, 1, device, -2, 3).detach().to(DType::bfloat16),
         rest =
             random_activation({2, 3, 5, c.width, channels}, 2, device, -2, 3).detach().to(DType::bfloat16);
  skip.set_requires_grad(true);
  rest.set_requires_grad(true);
  const Tensor weight = random_parameter({channels, 2 * channels, 3, 3, 3}, 3, device, -0.1f, 0.1f),
               head = random_parameter({4, channels, 1, 1, 1}, 4, device),
               gamma = random_parameter({channels}, 5, device, 0.5f, 1.5f),
               beta = random_parameter({channels}, 6, device, 0.2f, 1);
  const BatchNorm3d norm_of_skip(channels, device), norm_of_rest(channels, device);
  uint32_t seed = 10;
  for (const BatchNorm3d* norm : {&norm_of_skip, &norm_of_rest}) {
    set_values(norm->weight(), uniform(channels, ++seed, 0.5f, 1.5f));
    set_values(norm->bias(), uniform(channels, ++seed, 0.2f, 1));
  }
  AttentionGate gate(channels, channels, channels / 2, device);
  for (const auto& [name, tensor] : gate.named_parameters())
    set_values(tensor, uniform(tensor.elements(), ++seed));

  const FusedActivation relu{.params = {.kind = ActivationKind::relu}};
  const Conv3dParams params{.in_channels = 2 * channels, .out_channels = channels};
  const Tensor both = Tensor::activation_like(skip, 2 * channels);
  ChannelStatistics of_merged{.per_instance = !c.narrow};
  const UnstoredNorm s = norm_of_skip.unstored(skip, statistics_of(skip), relu);
  Tensor y;
  if (gated) {
    const UnstoredNorm r = norm_of_rest.unstored(rest, statistics_of(rest), relu);
    y = gated_conv3d(gate.unstored(r, s), r, weight, {}, params, of_merged);
  } else {
    const Tensor r = norm_of_rest(rest, relu, {both.channels(channels, 2 * channels), statistics_of(rest)});
    y = conv3d(concat({gate(r, s.x, both.channels(0, channels), {}, s.norm), r}), weight, {}, params,
               &of_merged);
  }
  const Tensor z =
      c.narrow ? norm_conv3d(y, {of_merged, gamma, beta, relu}, head, {}, {channels, 4, 1, 1, 0}, nullptr)
               : instance_norm(y, {}, {}, {}, 1e-5f, {{}, of_merged});
  const int classes = c.narrow ? 4 : static_cast<int>(channels);
  const Tensor loss = dice_loss(z, random_labels({2, 3, 5, c.width, 1}, 7, classes, device));
  loss.backward();
  std::vector<std::vector<float>> results = {z.to(DType::float32).values(),
                                             skip.grad().to(DType::float32).values(),
                                             rest.grad().to(DType::float32).values(), weight.grad().values()};
  for (const BatchNorm3d* norm : {&norm_of_skip, &norm_of_rest})
    for (const Tensor& t : {norm->weight(), norm->bias()}) results.push_back(t.grad().values());
  for (const auto& [name, tensor] : gate.named_parameters()) results.push_back(tensor.grad().values());
  return results;
}

// Forward the same bits. What is stored is rounded before its gradient is summed: a few units of bfloat16.
TEST_P(GatedConv3dTest, GivesWhatStoredInputsGive) {
  for (const Case& c :
       {Case{16, 8, true}, Case{16, 12, false}, Case{32, 8, false}, Case{16, 7, true}, Case{64, 4, false}}) {
    SCOPED_TRACE(testing::Message() << c.channels << " channels, width " << c.width << ", narrow "
                                    << c.narrow);
    const auto made = run(c, true), stored = run(c, false);
    EXPECT_EQ(made, run(c, true)) << "the same bits again";
    EXPECT_EQ(made[0], stored[0]);
    for (size_t i = 1; i < stored.size(); ++i) {
      double largest = 0;
      for (const float value : stored[i]) largest = std::max<double>(largest, std::abs(value));
      EXPECT_TRUE(all_close(made[i], stored[i], largest / 128, 0)) << "result " << i;
    }
  }
}

TEST_P(GatedConv3dTest, WrongArgumentsAreErrors) {
  const Device device = Device::cuda;
  const Tensor x = random_activation({1, 2, 2, 4, 16}, 1, device).detach().to(DType::bfloat16),
               weight = random_parameter({16, 32, 3, 3, 3}, 2, device);
  const BatchNorm3d norm(16, device);
  const AttentionGate gate(16, 16, 8, device);
  const UnstoredNorm made = norm.unstored(x, statistics_of(x), {{.kind = ActivationKind::relu}, {}}),
                     stored{x, {}};
  const UnstoredGate gated = gate.unstored(made, made);
  const Conv3dParams params{.in_channels = 32, .out_channels = 16};
  ChannelStatistics found{};
  EXPECT_THROW(gated_conv3d(gated, stored, weight, {}, params, found), std::invalid_argument);
  EXPECT_THROW(gated_conv3d(gated, made, random_parameter({16, 16, 3, 3, 3}, 3, device), {}, params, found),
               std::invalid_argument);
  EXPECT_THROW(gated_conv3d(gate.unstored(made, stored), made, weight, {}, params, found),
               std::invalid_argument);
}

}  // namespace
}  // namespace vg::test

#endif
