#include "layers/softmax.h"

#include "layers/elementwise.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using SoftmaxLayerTest = DeviceTest;
VG_ON_EVERY_DEVICE(SoftmaxLayerTest);

TEST_P(SoftmaxLayerTest, ValuesAndArgmax) {
  const float log3 = std::log(3.0f);
  const Tensor x = activation_from({1, 1, 1, 2, 2}, {log3, 0, 7, 7}, device());
  EXPECT_TRUE(all_close(softmax(x).values(), std::vector<double>{0.75, 0.25, 0.5, 0.5}, 1e-6));
  const Tensor labels = argmax(x);
  EXPECT_EQ(labels.shape(), (Shape{1, 1, 1, 2, 1}));
  EXPECT_EQ(labels.values<uint8_t>(), (std::vector<uint8_t>{0, 0}));
}

TEST_P(SoftmaxLayerTest, Gradients) {
  const GradientCheck few{.most_elements = 16};
  const Tensor x = random_activation({2, 1, 2, 3, 4}, 1, device());
  check_gradients([](const auto& in) { return softmax(in[0]); }, {x}, few);
  check_gradients([](const auto& in) { return softmax(add(in[0], in[0])); }, {x}, few);  // in place
  check_gradients([](const auto& in) { return multiply(softmax(in[0]), in[0]); }, {x}, few);
}

}  // namespace
}  // namespace vg::test
