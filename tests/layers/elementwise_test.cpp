#include "layers/elementwise.h"

#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using ElementwiseLayerTest = DeviceTest;
VG_ON_EVERY_DEVICE(ElementwiseLayerTest);

const Shape shape = {2, 1, 2, 3, 4}, one_channel = {2, 1, 2, 3, 1};
const GradientCheck few{.most_elements = 12};

TEST_P(ElementwiseLayerTest, Values) {
  const Tensor a = activation_from({1, 1, 1, 2, 2}, {1, 2, 3, 4}, device());
  const Tensor b = activation_from({1, 1, 1, 2, 1}, {2, -1}, device());
  EXPECT_EQ(add(a, a).values(), (std::vector<float>{2, 4, 6, 8}));
  EXPECT_EQ(multiply(a, a).values(), (std::vector<float>{1, 4, 9, 16}));
  EXPECT_EQ(multiply(a, b).values(), (std::vector<float>{2, 4, -3, -4}));
  EXPECT_EQ(scale(a, -2).values(), (std::vector<float>{-2, -4, -6, -8}));
}

TEST_P(ElementwiseLayerTest, Gradients) {
  const Tensor a = random_activation(shape, 1, device()), b = random_activation(shape, 2, device());
  const Tensor psi = random_activation(one_channel, 3, device());
  check_gradients([](const auto& in) { return add(in[0], in[1]); }, {a, b}, few);
  check_gradients([](const auto& in) { return multiply(in[0], in[1]); }, {a, b}, few);
  check_gradients([](const auto& in) { return multiply(in[0], in[1]); }, {a, psi}, few);
  check_gradients([](const auto& in) { return multiply(in[0], in[1]); }, {a, psi.detach()}, few);
  check_gradients([](const auto& in) { return multiply(in[0], in[1]); }, {a.detach(), psi}, few);
  check_gradients([](const auto& in) { return scale(in[0], 3); }, {a}, few);
}

TEST_P(ElementwiseLayerTest, GradientsOfScalars) {
  Tensor a = Tensor::full({1}, 2, device()), b = Tensor::full({1}, 3, device());
  a.set_requires_grad(true);
  b.set_requires_grad(true);
  const Tensor y = add(scale(a, 5), add(b, a));
  EXPECT_EQ(y.item(), 15);
  y.backward();
  EXPECT_EQ(a.grad().item(), 6);
  EXPECT_EQ(b.grad().item(), 1);
}

// Both inputs of an addition get one and the same gradient: neither may be written through the other.
TEST_P(ElementwiseLayerTest, SharedGradientsStayApart) {
  const Tensor a = random_activation(shape, 1, device()), b = random_activation(shape, 2, device());
  check_gradients([](const auto& in) { return add(scale(in[0], 2), scale(in[1], 3)); }, {a, b}, few);
  check_gradients([](const auto& in) { return add(add(in[0], scale(in[1], 3)), in[1]); }, {a, b}, few);
  // A second gradient arrives at an input of the inner sum while its other input still shares the first.
  for (const bool swap : {false, true}) {
    check_gradients(
        [swap](const auto& in) {
          const Tensor x = scale(in[0], 2), y = scale(in[1], 3), sum = add(x, y), other = scale(x, 5);
          return swap ? add(other, sum) : add(sum, other);
        },
        {a, b}, few);
  }
  weighted_sum(add(a, b), std::vector<float>(static_cast<size_t>(product(shape)), 1)).backward();
  a.grad().fill(0);
  EXPECT_NE(b.grad().values()[0], 0);
}

TEST_P(ElementwiseLayerTest, ShapesMustAgree) {
  const Tensor a = random_activation(shape, 1, device()),
               other = random_activation({1, 1, 2, 3, 4}, 2, device());
  EXPECT_THROW(add(a, other), std::invalid_argument);
  EXPECT_THROW(add(a, {}), std::invalid_argument);
  EXPECT_THROW(add(a, random_parameter(shape, 1, device())), std::invalid_argument);
  EXPECT_THROW(multiply(a, other), std::invalid_argument);
  EXPECT_THROW(scale({}, 1), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
