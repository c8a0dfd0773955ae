// A norm and the convolution behind it as one op, against the two ops.
#include "layers/norm_conv3d.h"

#include "layers/dice.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

#ifdef VOXGRAD_WITH_CUDA

using NormConv3dTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, NormConv3dTest, ::testing::Values(Device::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

struct Case {
  int64_t in, out;
  int kernel_size, stride;
  bool per_instance;
  ActivationKind activation;
};
constexpr Case cases[] = {
    {16, 16, 3, 1, false, ActivationKind::relu}, {32, 16, 3, 1, true, ActivationKind::prelu},
    {16, 32, 3, 2, false, ActivationKind::relu}, {64, 80, 3, 1, false, ActivationKind::identity},
    {16, 4, 1, 1, true, ActivationKind::prelu},  {5, 3, 3, 1, false, ActivationKind::relu}};

// Loss, output and gradients of everything.
std::vector<std::vector<float>> run(const Case& c, bool fused) {
  const Device device = Device::cuda;
  Tensor x = random_activation({2, 5, 6, 7, c.in}, 1, device, -2, 3).detach().to(DType::bfloat16);
  x.set_requires_grad(true);
  const Tensor gamma = random_parameter({c.in}, 2, device, 0.5f, 1.5f),
               beta = random_parameter({c.in}, 3, device, 0.2f, 1),  // padding must stay zero, not act(beta)
      slope = random_parameter({1}, 4, device, 0.1f, 0.4f);
  const int64_t k = c.kernel_size;
  const Tensor weight = random_parameter({c.out, c.in, k, k, k}, 5, device),
               bias = random_parameter({c.out}, 6, device);
  const Conv3dParams params{c.in, c.out, c.kernel_size, c.stride, c.kernel_size / 2};
  const bool prelu = c.activation == ActivationKind::prelu;
  FusedActivation activation{.params = {.kind = c.activation}};
  if (prelu) activation = {{.kind = c.activation, .slope_count = 1}, slope};

  ChannelStatistics of_x = ChannelStatistics::empty_for(x, c.per_instance), found{};
  kernels::norm3d_statistics(of_x.mean.data<float>(), of_x.variance.data<float>(), x.view<const bfloat16>(),
                             {.per_instance = c.per_instance}, Context::get().exec(device));
  Tensor y;
  if (fused) {
    y = norm_conv3d(x, {of_x, gamma, beta, activation}, weight, bias, params, &found);
  } else {
    const Tensor z = c.per_instance ? instance_norm(x, gamma, beta, activation)
                                    : batch_norm(x, gamma, beta, {}, {}, {.activation = activation});
    y = conv3d(z, weight, bias, params, &found);
  }
  const Tensor labels =
      random_labels({y.size(0), y.size(1), y.size(2), y.size(3), 1}, 7, static_cast<int>(c.out), device);
  const Tensor loss = dice_loss(y, labels);
  loss.backward();
  std::vector<std::vector<float>> results = {
      loss.values(),         y.to(DType::float32).values(), x.grad().to(DType::float32).values(),
      gamma.grad().values(), beta.grad().values(),          weight.grad().values(),
      bias.grad().values(),  found.mean.values(),           found.variance.values()};
  if (prelu) results.push_back(slope.grad().values());
  return results;
}

TEST_P(NormConv3dTest, EqualsTheTwoOps) {
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::Message()
                 << c.in << "->" << c.out << " kernel " << c.kernel_size << " stride " << c.stride);
    const auto fused = run(c, true), apart = run(c, false);
    for (size_t i = 0; i < apart.size(); ++i) {
      float largest = 0;
      for (const float value : apart[i]) largest = std::max(largest, std::abs(value));
      // Both round the convolution's input to bfloat16, perhaps to neighbours.
      EXPECT_TRUE(all_close(fused[i], apart[i], 0.01 * largest, 0)) << "result " << i;
    }
  }
}

TEST_P(NormConv3dTest, WrongArgumentsAreErrors) {
  const Tensor x = random_activation({1, 2, 2, 2, 4}, 1, Device::cuda).detach();
  const Tensor weight = random_parameter({4, 4, 1, 1, 1}, 2, Device::cuda);
  ChannelStatistics found{};
  const ChannelStatistics of_x = ChannelStatistics::empty_for(x, false);
  EXPECT_THROW(norm_conv3d(x, {of_x}, weight, {}, {4, 4, 1, 1, 0}, &found), std::invalid_argument)
      << "float32";
  const Tensor half = x.to(DType::bfloat16);
  EXPECT_THROW(
      norm_conv3d(half, {ChannelStatistics::empty_for(x, true)}, weight, {}, {4, 5, 1, 1, 0}, &found),
      std::invalid_argument);
  EXPECT_THROW(norm_conv3d(half, {.statistics = of_x, .weight = Tensor::full({4}, 1, Device::cuda)}, weight,
                           {}, {4, 4, 1, 1, 0}, &found),
               std::invalid_argument);
}

#endif

}  // namespace
}  // namespace vg::test
