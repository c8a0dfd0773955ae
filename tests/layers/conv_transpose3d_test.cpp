#include "layers/conv_transpose3d.h"

#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using ConvTranspose3dLayerTest = DeviceTest;
VG_ON_EVERY_DEVICE(ConvTranspose3dLayerTest);

const ConvTranspose3dParams variants[] = {
    {.in_channels = 3, .out_channels = 2},
    {.in_channels = 3, .out_channels = 2, .kernel_size = 2, .padding = 0, .output_padding = 0}};

TEST_P(ConvTranspose3dLayerTest, ForwardOfAKernelOfOnes) {
  const Tensor x = activation_from({1, 1, 1, 2, 1}, {3, 5}, device());
  const Tensor b = Tensor::full({1}, 0.5f, device());
  // Kernel 2, stride 2: every input fills its own 2x2x2 block.
  const Tensor y = conv_transpose3d(
      x, Tensor::full({1, 1, 2, 2, 2}, 1, device()), b,
      {.in_channels = 1, .out_channels = 1, .kernel_size = 2, .padding = 0, .output_padding = 0});
  EXPECT_EQ(y.shape(), (Shape{1, 2, 2, 4, 1}));
  std::vector<float> expected;
  for (int row = 0; row < 4; ++row) expected.insert(expected.end(), {3.5f, 3.5f, 5.5f, 5.5f});
  EXPECT_EQ(y.values(), expected);
  // Kernel 3, stride 2, padding 1: odd outputs lie between two inputs.
  const std::vector<float> z = conv_transpose3d(x, Tensor::full({1, 1, 3, 3, 3}, 1, device()), b,
                                                {.in_channels = 1, .out_channels = 1})
                                   .values();
  EXPECT_EQ(std::vector<float>(z.begin(), z.begin() + 4), (std::vector<float>{3.5f, 8.5f, 5.5f, 5.5f}));
}

TEST_P(ConvTranspose3dLayerTest, GradientsOfEveryVariant) {
  for (const ConvTranspose3dParams& p : variants) {
    const int64_t k = p.kernel_size;
    const std::vector<Tensor> inputs = {random_activation({2, 1, 2, 3, 3}, 1, device()),
                                        random_parameter({3, 2, k, k, k}, 2, device()),
                                        random_parameter({2}, 3, device())};
    check_gradients([&](const auto& in) { return conv_transpose3d(in[0], in[1], in[2], p); }, inputs,
                    {.most_elements = 12});
  }
}

TEST_P(ConvTranspose3dLayerTest, ModuleIsTheFunctionOnItsParameters) {
  ConvTranspose3d layer(variants[0], true, device());
  ASSERT_EQ(layer.state().size(), 2u);
  EXPECT_EQ(layer.state()[0].second.shape(), (Shape{3, 2, 3, 3, 3}));
  layer.load_state({{"weight", random_parameter({3, 2, 3, 3, 3}, 1, Device::cpu)},
                    {"bias", random_parameter({2}, 2, Device::cpu)}});
  const Tensor x = random_activation({1, 1, 2, 1, 3}, 3, device());
  EXPECT_EQ(layer(x).values(), conv_transpose3d(x, layer.weight(), layer.bias(), variants[0]).values());
  EXPECT_EQ(ConvTranspose3d(variants[0], false, device()).state().size(), 1u);
}

TEST_P(ConvTranspose3dLayerTest, WrongArgumentsAreErrors) {
  const Tensor x = random_activation({1, 2, 2, 2, 3}, 1, device());
  EXPECT_THROW(conv_transpose3d(x, random_parameter({2, 3, 3, 3, 3}, 2, device()), {}, variants[0]),
               std::invalid_argument);
  EXPECT_THROW(conv_transpose3d(x, random_parameter({3, 2, 3, 3, 3}, 2, device()),
                                random_parameter({3}, 2, device()), variants[0]),
               std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
