#include "layers/conv3d.h"

#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using Conv3dLayerTest = DeviceTest;
VG_ON_EVERY_DEVICE(Conv3dLayerTest);

Tensor run(const std::vector<Tensor>& in, const Conv3dParams& params) {
  return conv3d(in[0], in[1], in[2], params);
}

TEST_P(Conv3dLayerTest, ForwardOfAKernelOfOnes) {
  // Two input channels of ones, a kernel of ones: each output counts the taps inside the volume.
  const Tensor x = activation_from({1, 3, 3, 3, 2}, std::vector<float>(54, 1), device());
  const Tensor w = Tensor::full({1, 2, 3, 3, 3}, 1, device()), b = Tensor::full({1}, 0.5f, device());
  const std::vector<float> y = conv3d(x, w, b, {.in_channels = 2, .out_channels = 1}).values();
  ASSERT_EQ(y.size(), 27u);
  EXPECT_EQ(y[0], 16.5f);   // corner: 2x2x2 taps
  EXPECT_EQ(y[1], 24.5f);   // edge
  EXPECT_EQ(y[4], 36.5f);   // face
  EXPECT_EQ(y[13], 54.5f);  // centre
}

TEST_P(Conv3dLayerTest, GradientsOfEveryVariant) {
  const Conv3dParams variants[] = {{.in_channels = 3, .out_channels = 2},
                                   {.in_channels = 3, .out_channels = 2, .stride = 2},
                                   {.in_channels = 3, .out_channels = 2, .kernel_size = 1, .padding = 0}};
  for (const Conv3dParams& p : variants) {
    const int64_t k = p.kernel_size;
    const std::vector<Tensor> inputs = {random_activation({2, 3, 4, 5, 3}, 1, device()),
                                        random_parameter({2, 3, k, k, k}, 2, device()),
                                        random_parameter({2}, 3, device())};
    check_gradients([&](const auto& in) { return run(in, p); }, inputs, {.most_elements = 12});
  }
}

TEST_P(Conv3dLayerTest, InputsWithoutGradientGetNone) {
  const Conv3dParams p{.in_channels = 1, .out_channels = 1};
  for (int wanted = 0; wanted < 3; ++wanted) {
    std::vector<Tensor> in = {random_activation({1, 2, 2, 2, 1}, 1, device()),
                              random_parameter({1, 1, 3, 3, 3}, 2, device()),
                              random_parameter({1}, 3, device())};
    for (int i = 0; i < 3; ++i) in[static_cast<size_t>(i)].set_requires_grad(i == wanted);
    weighted_sum(run(in, p), std::vector<float>(8, 1)).backward();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(in[static_cast<size_t>(i)].grad().defined(), i == wanted);
  }
}

TEST_P(Conv3dLayerTest, FrozenWeightKeepsNoInput) {
  Tensor x = random_activation({1, 2, 2, 2, 1}, 1, device());
  const Tensor w = random_parameter({1, 1, 3, 3, 3}, 2, device()).detach();
  const Conv3dParams p{.in_channels = 1, .out_channels = 1};
  const Tensor y = conv3d(x, w, {}, p);
  EXPECT_EQ(x.storage_use_count(), 1);
  EXPECT_TRUE(y.requires_grad());
  x.set_requires_grad(false);
  EXPECT_FALSE(conv3d(x, w, {}, p).requires_grad());
}

TEST_P(Conv3dLayerTest, ModuleIsTheFunctionOnItsParameters) {
  const Conv3dParams p{.in_channels = 2, .out_channels = 3, .stride = 2};
  Conv3d layer(p, true, device());
  ASSERT_EQ(layer.state().size(), 2u);
  EXPECT_EQ(layer.state()[0].first, "weight");
  EXPECT_EQ(layer.state()[0].second.shape(), (Shape{3, 2, 3, 3, 3}));
  EXPECT_EQ(layer.state()[1].first, "bias");
  EXPECT_EQ(layer.weight().values(), std::vector<float>(162, 0));
  layer.load_state({{"weight", random_parameter({3, 2, 3, 3, 3}, 1, Device::cpu)},
                    {"bias", random_parameter({3}, 2, Device::cpu)}});
  const Tensor x = random_activation({1, 4, 4, 2, 2}, 3, device());
  const Tensor y = layer(x);
  EXPECT_EQ(y.shape(), (Shape{1, 2, 2, 1, 3}));
  EXPECT_EQ(y.values(), conv3d(x, layer.weight(), layer.bias(), p).values());
  const Conv3d without(p, false, device());
  EXPECT_EQ(without.state().size(), 1u);
  EXPECT_FALSE(without.bias().defined());
}

TEST_P(Conv3dLayerTest, WrongArgumentsAreNamed) {
  const Conv3dParams p{.in_channels = 2, .out_channels = 3};
  const Tensor x = random_activation({1, 2, 2, 2, 2}, 1, device());
  const Tensor w = random_parameter({3, 2, 3, 3, 3}, 2, device());
  EXPECT_THROW(conv3d({}, w, {}, p), std::invalid_argument);
  EXPECT_THROW(conv3d(w, w, {}, p), std::invalid_argument);  // not an activation
  EXPECT_THROW(conv3d(x, random_parameter({2, 3, 3, 3, 3}, 2, device()), {}, p), std::invalid_argument);
  EXPECT_THROW(conv3d(x, w, random_parameter({2}, 2, device()), p), std::invalid_argument);
  EXPECT_THROW(conv3d(random_activation({1, 2, 2, 2, 3}, 1, device()), w, {}, p), std::invalid_argument);
  EXPECT_THROW(conv3d(x, w, {}, {.in_channels = 2, .out_channels = 3, .stride = 0}), std::invalid_argument);
  try {
    conv3d(random_activation({1, 1, 1, 1, 2}, 1, device()), w, {},
           {.in_channels = 2, .out_channels = 3, .padding = 0});
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("[1, 1, 1, 1, 2]"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace vg::test
