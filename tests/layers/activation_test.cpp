#include "layers/activation.h"

#include "layers/elementwise.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using ActivationLayerTest = DeviceTest;
VG_ON_EVERY_DEVICE(ActivationLayerTest);

const Shape shape = {2, 1, 2, 3, 2};

// No value within 0.05 of the kink at 0, where differences say nothing.
Tensor away_from_zero(uint32_t seed, Device device) {
  std::vector<float> values = uniform(product(shape), seed);
  for (float& v : values) v += v < 0 ? -0.05f : 0.05f;
  return activation_from(shape, values, device).set_requires_grad(true);
}

TEST_P(ActivationLayerTest, Values) {
  const Tensor x = activation_from({1, 1, 1, 2, 2}, {-2, 0, 1, -4}, device());
  EXPECT_EQ(relu(x).values(), (std::vector<float>{0, 0, 1, 0}));
  EXPECT_EQ(leaky_relu(x, 0.5f).values(), (std::vector<float>{-1, 0, 1, -2}));
  EXPECT_EQ(prelu(x, Tensor::from_values<float>({2}, {0.5f, 0.25f}, device())).values(),
            (std::vector<float>{-1, 0, 1, -1}));
  EXPECT_EQ(sigmoid(x).values()[1], 0.5f);
}

TEST_P(ActivationLayerTest, Gradients) {
  const GradientCheck few{.most_elements = 12};
  const std::vector<Tensor> x = {away_from_zero(1, device())};
  check_gradients([](const auto& in) { return relu(in[0]); }, x, few);
  check_gradients([](const auto& in) { return leaky_relu(in[0], 0.2f); }, x, few);
  check_gradients([](const auto& in) { return leaky_relu(in[0], -0.5f); }, x, few);
  check_gradients([](const auto& in) { return sigmoid(in[0]); }, x, few);
  for (const int64_t slopes : {1, 2}) {
    check_gradients([](const auto& in) { return prelu(in[0], in[1]); },
                    {x[0], random_parameter({slopes}, 2, device())}, few);
  }
}

TEST_P(ActivationLayerTest, WorksInPlaceOnlyOnWhatWasMovedIn) {
  const Tensor x = away_from_zero(1, device());
  const std::vector<float> before = x.values();
  const Tensor kept = add(x, x);
  const std::vector<float> kept_before = kept.values();
  const Tensor y = relu(kept);
  EXPECT_EQ(kept.values(), kept_before);
  EXPECT_EQ(x.values(), before);
  Tensor moved = add(x, x);
  const float* const memory = moved.data<float>();
  const Tensor z = relu(std::move(moved));
  EXPECT_EQ(z.data<float>(), memory);
  EXPECT_EQ(z.values(), y.values());
  // Backward of sigmoid needs its input, so that this must stay.
  EXPECT_NE(sigmoid(add(x, x)).values(), kept_before);
  const GradientCheck few{.most_elements = 12};
  check_gradients([](const auto& in) { return relu(add(in[0], in[0])); }, {x}, few);
  check_gradients([](const auto& in) { return sigmoid(add(in[0], in[0])); }, {x}, few);
  check_gradients([](const auto& in) { return leaky_relu(add(in[0], in[0]), -0.5f); }, {x}, few);
}

TEST_P(ActivationLayerTest, PreluModuleStartsAtAQuarter) {
  const PReLU layer(1, device());
  ASSERT_EQ(layer.state().size(), 1u);
  EXPECT_EQ(layer.state()[0].first, "weight");
  EXPECT_EQ(layer.weight().shape(), Shape{1});
  EXPECT_EQ(layer(activation_from({1, 1, 1, 1, 2}, {-4, 4}, device())).values(), (std::vector<float>{-1, 4}));
}

TEST_P(ActivationLayerTest, SlopesMustFitTheChannels) {
  const Tensor x = away_from_zero(1, device());
  EXPECT_THROW(prelu(x, random_parameter({3}, 1, device())), std::invalid_argument);
  EXPECT_THROW(prelu(x, {}), std::invalid_argument);
  EXPECT_THROW(relu({}), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
