// A norm that leaves the second half of its backward to the transposed convolution before it, against one
// that does it.
#ifdef VOXGRAD_WITH_CUDA

#include <algorithm>
#include <cmath>

#include "engine/recompute.h"
#include "layers/conv_transpose3d.h"
#include "layers/dice.h"
#include "layers/norm3d.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using ConvTranspose3dNormTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, ConvTranspose3dNormTest, ::testing::Values(Device::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

// Gradients of x, the convolution's weight and the norm's parameters. What recompute() hands on is finished:
// with `apart` norm and convolution are in different functions.
std::vector<std::vector<float>> run(int64_t in, int64_t out, bool apart) {
  const Device device = Device::cuda;
  Tensor x = random_activation({2, 2, 3, 4, in}, 1, device).detach().to(DType::bfloat16);
  x.set_requires_grad(true);
  const Tensor weight = random_parameter({in, out, 3, 3, 3}, 2, device, -0.3f, 0.3f),
               bias = random_parameter({out}, 3, device),
               gamma = random_parameter({out}, 4, device, 0.5f, 1.5f),
               beta = random_parameter({out}, 5, device, 0.2f, 1);
  ChannelStatistics statistics{};
  const TensorFunction upsample = [&](const std::vector<Tensor>& inputs) {
    return conv_transpose3d(inputs[0], weight, bias, {.in_channels = in, .out_channels = out}, &statistics);
  };
  const Tensor y = apart ? recompute(upsample, {x}, {weight, bias}) : upsample({x});
  const Tensor z =
      batch_norm(y, gamma, beta, {}, {}, {.activation = {{.kind = ActivationKind::relu}}}, {{}, statistics});
  dice_loss(z, random_labels({2, 4, 6, 8, 1}, 6, static_cast<int>(out), device)).backward();
  std::vector<std::vector<float>> results{x.grad().to(DType::float32).values()};
  for (const Tensor& t : {weight, bias, gamma, beta}) results.push_back(t.grad().values());
  return results;
}

TEST_P(ConvTranspose3dNormTest, GradientsAreThoseOfANormThatDoesItAll) {
  for (const auto& [in, out] : {std::pair<int64_t, int64_t>{32, 16}, {16, 16}, {64, 32}}) {
    SCOPED_TRACE(testing::Message() << in << "->" << out);
    const auto together = run(in, out, false), apart = run(in, out, true);
    ASSERT_EQ(together.size(), apart.size());
    EXPECT_EQ(together[0], apart[0]);
    for (size_t i = 1; i < apart.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "gradient " << i);
      float largest = 0;
      for (const float value : apart[i]) largest = std::max(largest, std::abs(value));
      EXPECT_TRUE(all_close(together[i], apart[i], largest * 1e-5, 0));
    }
  }
}

}  // namespace
}  // namespace vg::test

#endif
