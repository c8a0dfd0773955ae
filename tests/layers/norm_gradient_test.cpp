// A norm that leaves the second half of its backward to the convolution before it, against one that does it.
#ifdef VOXGRAD_WITH_CUDA

#include "layers/norm_gradient.h"

#include "engine/recompute.h"
#include "layers/attention_gate.h"
#include "layers/conv3d.h"
#include "layers/conv_transpose3d.h"
#include "layers/dice.h"
#include "layers/elementwise.h"
#include "layers/norm_conv3d.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using NormGradientTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, NormGradientTest, ::testing::Values(Device::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

struct Case {
  int64_t in, channels;
  bool per_instance, input_wanted;
  int64_t classes = 0;  // of a convolution with kernel 1 that applies the second norm, or none
};

// Gradients of two convolutions with a norm behind each, the first applied by the second convolution. What
// recompute() hands on is finished: with `finished` norms and convolutions are in different functions.
std::vector<std::vector<float>> run(const Case& c, bool finished) {
  const Device device = Device::cuda;
  Tensor x = random_activation({2, 2, 3, 4, c.in}, 1, device, -2, 3).detach().to(DType::bfloat16);
  x.set_requires_grad(c.input_wanted);
  const Tensor first = random_parameter({c.channels, c.in, 3, 3, 3}, 2, device),
               second = random_parameter({c.channels, c.channels, 3, 3, 3}, 3, device),
               gamma = random_parameter({c.channels}, 4, device, 0.5f, 1.5f),
               beta = random_parameter({c.channels}, 5, device, 0.2f, 1);
  const Conv3dParams first_params{.in_channels = c.in, .out_channels = c.channels},
      second_params{.in_channels = c.channels, .out_channels = c.channels};
  const FusedActivation relu{.params = {.kind = ActivationKind::relu}};
  const auto apart = [&](const TensorFunction& function, const Tensor& input, const Tensor& parameter) {
    return finished ? recompute(function, {input}, {parameter}) : function({input});
  };
  ChannelStatistics of_y{}, of_z{.per_instance = c.per_instance};
  const Tensor y =
      apart([&](const auto& in) { return conv3d(in[0], first, {}, first_params, &of_y); }, x, first);
  const Tensor z = apart(
      [&](const auto& in) {
        return norm_conv3d(in[0], {of_y, gamma, beta, relu}, second, {}, second_params, &of_z);
      },
      y, second);
  const Tensor classes = random_parameter({std::max<int64_t>(c.classes, 1), c.channels, 1, 1, 1}, 6, device);
  const Tensor result =
      c.classes > 0
          ? norm_conv3d(z, {of_z, gamma, beta, relu}, classes, {}, {c.channels, c.classes, 1, 1, 0}, nullptr)
      : c.per_instance ? instance_norm(z, {}, {}, relu, 1e-5f, {{}, of_z})
                       : batch_norm(z, gamma, beta, {}, {}, {.activation = relu}, {{}, of_z});
  const Tensor labels =
      random_labels({2, 2, 3, 4, 1}, 7, static_cast<int>(c.classes > 0 ? c.classes : c.channels), device);
  dice_loss(result, labels).backward();
  std::vector<std::vector<float>> results;
  for (const Tensor& t : {first, second, gamma, beta}) results.push_back(t.grad().values());
  if (c.input_wanted) results.push_back(x.grad().to(DType::float32).values());
  return results;
}

TEST_P(NormGradientTest, GivesTheBitsOfANormThatDoesItAll) {
  const Case cases[] = {{4, 16, false, false},
                        {4, 32, true, true},
                        {4, 16, true, false, 4},
                        {16, 16, false, true},
                        {8, 80, false, true}};
  for (const Case& c : cases) {
    SCOPED_TRACE(testing::Message() << c.in << "->" << c.channels << ", input wanted " << c.input_wanted);
    EXPECT_EQ(run(c, false), run(c, true));
  }
}

// A level as in the network: a norm that is not stored, read by a convolution with stride 2 and by a gate
// that the convolution's result comes back to. With `apart`, norm and convolution are in different functions,
// so that both gradients of the convolution and the sums for the norm take passes of their own.
std::vector<std::vector<float>> run_level(int64_t channels, bool apart) {
  const Device device = Device::cuda;
  const Tensor x = random_activation({2, 4, 2, 6, 4}, 1, device).detach().to(DType::bfloat16),
               first = random_parameter({channels, 4, 3, 3, 3}, 2, device),
               down = random_parameter({2 * channels, channels, 3, 3, 3}, 3, device, -0.2f, 0.2f),
               up = random_parameter({2 * channels, channels, 3, 3, 3}, 4, device, -0.2f, 0.2f);
  const BatchNorm3d norm(channels, device);
  set_values(norm.weight(), uniform(channels, 5, 0.5f, 1.5f));
  set_values(norm.bias(), uniform(channels, 6, 0.2f, 1));
  const Tensor gamma = random_parameter({2 * channels}, 7, device, 0.5f, 1.5f),
               beta = random_parameter({2 * channels}, 8, device, 0.2f, 1);
  AttentionGate gate(channels, channels, channels / 2, device);
  uint32_t seed = 10;
  for (const auto& [name, tensor] : gate.named_parameters())
    set_values(tensor, uniform(tensor.elements(), ++seed));
  const FusedActivation relu{.params = {.kind = ActivationKind::relu}};
  ChannelStatistics of_y{}, of_coarse{};
  const Tensor y = conv3d(x, first, {}, {.in_channels = 4, .out_channels = channels}, &of_y);
  const UnstoredNorm skip = norm.unstored(y, of_y, relu);
  const Conv3dParams params{.in_channels = channels, .out_channels = 2 * channels, .stride = 2};
  const TensorFunction convolve = [&](const std::vector<Tensor>& in) {
    return conv3d_of_unstored(in[0], skip.norm, down, {}, params, of_coarse);
  };
  const Tensor convolved = apart ? recompute(convolve, {skip.x}, {down}) : convolve({skip.x});
  const Tensor coarse = batch_norm(convolved, gamma, beta, {}, {}, {.activation = relu}, {{}, of_coarse});
  const Tensor upsampled =
      conv_transpose3d(coarse, up, {}, {.in_channels = 2 * channels, .out_channels = channels});
  const Tensor z = gate(upsampled, skip.x, {}, {}, skip.norm);
  dice_loss(z, random_labels({2, 4, 2, 6, 1}, 9, static_cast<int>(channels), device)).backward();
  std::vector<std::vector<float>> results;
  for (const Tensor& t : {first, down, up, gamma, beta, norm.weight(), norm.bias()})
    results.push_back(t.grad().values());
  return results;
}

TEST_P(NormGradientTest, BothGradientsAtStride2AreThoseOfSeparatePasses) {
  const auto together = run_level(16, false), apart = run_level(16, true);
  ASSERT_EQ(together.size(), apart.size());
  for (size_t i = 0; i < apart.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "gradient " << i);
    double largest = 0;
    for (const float value : apart[i]) largest = std::max<double>(largest, std::abs(value));
    EXPECT_TRUE(all_close(together[i], apart[i], largest / 128, 0));
  }
}

// As a network ends: a convolution of channels of which the last are behind a norm that is not stored, to a
// norm and a convolution with kernel 1. With `apart`, that norm and the first convolution are in different
// functions.
std::vector<std::vector<float>> run_end(int64_t out, bool apart) {
  const Device device = Device::cuda;
  const Tensor x = random_activation({2, 3, 2, 6, 4}, 1, device).detach().to(DType::bfloat16),
               first = random_parameter({32, 4, 3, 3, 3}, 2, device),
               merge = random_parameter({out, 32, 3, 3, 3}, 3, device, -0.2f, 0.2f),
               classes = random_parameter({4, out, 1, 1, 1}, 4, device);
  const FusedActivation relu{.params = {.kind = ActivationKind::relu}};
  ChannelStatistics of_y{}, of_z{.per_instance = true};
  const Tensor y = conv3d(x, first, {}, {.in_channels = 4, .out_channels = 32}, &of_y);
  const BatchNorm3d norm(32, device);
  const UnstoredNorm unstored = norm.unstored(y, of_y, relu);
  const Conv3dParams params{.in_channels = 32, .out_channels = out};
  const TensorFunction convolve = [&](const std::vector<Tensor>& in) {
    return conv3d_of_unstored(in[0], unstored.norm, merge, {}, params, of_z);
  };
  const Tensor z = apart ? recompute(convolve, {unstored.x}, {merge}) : convolve({unstored.x});
  const Tensor result = norm_conv3d(z, {of_z, {}, {}, relu}, classes, {}, {out, 4, 1, 1, 0}, nullptr);
  dice_loss(result, random_labels({2, 3, 2, 6, 1}, 5, 4, device)).backward();
  std::vector<std::vector<float>> results;
  for (const Tensor& t : {first, merge, classes, norm.weight(), norm.bias()})
    results.push_back(t.grad().values());
  return results;
}

TEST_P(NormGradientTest, BothGradientsOfANarrowOneAreThoseOfSeparatePasses) {
  for (const int64_t out : {16, 32}) {
    const auto together = run_end(out, false), apart = run_end(out, true);
    ASSERT_EQ(together.size(), apart.size());
    for (size_t i = 0; i < apart.size(); ++i) {
      SCOPED_TRACE(testing::Message() << out << " channels, gradient " << i);
      double largest = 0;
      for (const float value : apart[i]) largest = std::max<double>(largest, std::abs(value));
      EXPECT_TRUE(all_close(together[i], apart[i], largest * 1e-4, 0));
    }
  }
}

// A gradient that is not finished must not be added to.
TEST_P(NormGradientTest, AnotherReaderIsAnError) {
  const Tensor x = random_activation({1, 2, 3, 4, 16}, 1, Device::cuda).detach().to(DType::bfloat16),
               weight = random_parameter({16, 16, 3, 3, 3}, 2, Device::cuda),
               labels = random_labels({1, 2, 3, 4, 1}, 3, 16, Device::cuda);
  ChannelStatistics found{};
  const Tensor y = conv3d(x, weight, {}, {.in_channels = 16, .out_channels = 16}, &found),
               z = add(batch_norm(y, {}, {}, {}, {}, {}, {{}, found}), y);
  EXPECT_THROW(dice_loss(z, labels).backward(), std::logic_error);
}

}  // namespace
}  // namespace vg::test

#endif
