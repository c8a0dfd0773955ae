#include "kernels/augment/bias_field.h"

#include "support/augment_test.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using BiasFieldTest = DeviceTest;
VG_ON_EVERY_DEVICE(BiasFieldTest);

std::vector<double> with_bias(const std::vector<float>& x, const Extents3& extent, const BiasFieldParams& p) {
  std::vector<double> y(x.begin(), x.end());
  for_each_place(extent, [&](size_t i, const Extents3& place) {
    double u[3];
    for (size_t axis = 0; axis < 3; ++axis)
      u[axis] = extent[axis] == 1
                    ? 0
                    : 2 * static_cast<double>(place[axis]) / static_cast<double>(extent[axis] - 1) - 1;
    double exponent = 0;
    size_t next = 0;
    for (int a = 0; a <= p.order; ++a) {
      for (int b = 0; a + b <= p.order; ++b) {
        for (int c = 0; a + b + c <= p.order; ++c)
          exponent += static_cast<double>(p.coefficients[next++]) * std::pow(u[0], a) * std::pow(u[1], b) *
                      std::pow(u[2], c);
      }
    }
    y[i] *= std::exp(exponent);
  });
  return y;
}

TEST_P(BiasFieldTest, IsTheExponentialOfAPolynomial) {
  for (const Extents3& extent : {Extents3{5, 6, 17}, {1, 1, 1}, {1, 7, 33}, {3, 1, 2}, {2, 5, 1}}) {
    const auto x = uniform(count_of(extent), 1);
    for (const int order : {0, 1, 3, 7}) {
      const float range = order == 7 ? 0.1f : 0.5f;  // 120 coefficients
      const BiasFieldParams p{order, uniform(bias_field_coefficients(order), 2, -range, range)};
      expect_transformed(device(), exec(), 1, extent, x, with_bias(x, extent, p), 4e-6,
                         [&](auto y, auto in, const Exec& on) { bias_field(y, in, p, on); });
    }
  }
}

TEST_P(BiasFieldTest, OneFieldForAllVolumes) {
  const Extents3 extent{3, 4, 5};
  const auto x = uniform(2 * count_of(extent), 2);
  const BiasFieldParams p{3, uniform(20, 3, -0.5f, 0.5f)};
  const auto expected =
      joined(with_bias(volume_of(x, extent, 0), extent, p), with_bias(volume_of(x, extent, 1), extent, p));
  expect_transformed(device(), exec(), 2, extent, x, expected, 2e-6,
                     [&](auto y, auto in, const Exec& on) { bias_field(y, in, p, on); });
}

TEST(BiasFieldThreads, SameBitsForAnyNumberOfThreads) {
  const BiasFieldParams p{3, uniform(20, 3, -0.5f, 0.5f)};
  expect_transform_thread_independent([&](auto y, auto x, const Exec& on) { bias_field(y, x, p, on); });
}

TEST_P(BiasFieldTest, WrongArgumentsAreErrors) {
  Activation<float> x(device(), 1, 2, 3, 4, 1), y(device(), 1, 2, 3, 4, 1);
  const auto message = [&](int order, size_t coefficients) {
    return message_of([&] { bias_field(y, x, {order, std::vector<float>(coefficients)}, exec()); });
  };
  EXPECT_EQ(message(3, 19), "bias_field: 19 coefficients, expected 20 for order 3");
  EXPECT_EQ(message(-1, 0), "bias_field: the order is -1, expected 0 to 7");
  EXPECT_EQ(message(8, 165), "bias_field: the order is 8, expected 0 to 7");
}

}  // namespace
}  // namespace vg::test
