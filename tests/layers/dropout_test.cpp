#include "layers/dropout.h"

#include "layers/elementwise.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using DropoutLayerTest = DeviceTest;
VG_ON_EVERY_DEVICE(DropoutLayerTest);

TEST_P(DropoutLayerTest, BackwardUsesTheMaskOfForward) {
  const Tensor x = random_activation({2, 2, 2, 3, 4}, 1, device(), 1, 2);
  check_gradients(
      [](const auto& in) {
        Rng rng(5, 3);
        return dropout(in[0], 0.4f, rng);
      },
      {x}, {.most_elements = 24});
}

TEST_P(DropoutLayerTest, EachCallDrawsAnewAndReproducibly) {
  const Tensor x = activation_from({1, 4, 4, 4, 4}, std::vector<float>(256, 1), device());
  Rng rng(7), same(7);
  const std::vector<float> first = dropout(x, 0.5f, rng).values(), second = dropout(x, 0.5f, rng).values();
  EXPECT_NE(first, second);
  EXPECT_EQ(rng.draws(), 2u);
  EXPECT_EQ(dropout(x, 0.5f, same).values(), first);
  for (const float v : first) EXPECT_TRUE(v == 0 || v == 2) << v;
}

TEST_P(DropoutLayerTest, ModuleIsTheIdentityInInference) {
  Rng rng(1);
  Dropout layer(0.5f, rng);
  const Tensor x = random_activation({1, 2, 2, 2, 8}, 1, device(), 1, 2);
  EXPECT_NE(layer(x).values(), x.values());
  layer.train(false);
  EXPECT_EQ(layer(x).data<float>(), x.data<float>());
  EXPECT_EQ(Dropout(0, rng)(x).data<float>(), x.data<float>());
  EXPECT_EQ(rng.draws(), 1u);
  EXPECT_TRUE(layer.state().empty());
}

TEST_P(DropoutLayerTest, ProbabilityMustBeBelowOne) {
  Rng rng(1);
  EXPECT_THROW(Dropout(1, rng), std::invalid_argument);
  EXPECT_THROW(Dropout(-0.1f, rng), std::invalid_argument);
  EXPECT_THROW(Dropout(NAN, rng), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
