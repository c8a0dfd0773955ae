#include "kernels/augment/gamma.h"

#include "support/augment_test.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using GammaTest = DeviceTest;
VG_ON_EVERY_DEVICE(GammaTest);

TEST_P(GammaTest, IsASignedPower) {
  for (const Extents3& extent : {Extents3{1, 1, 1}, {2, 3, 5}, {3, 2, 17}, {1, 2, 33}}) {
    auto x = uniform(2 * count_of(extent), 1, -3, 3);
    x[0] = 0;
    for (const float exponent : {0.3f, 0.74f, 1.0f, 1.35f, 2.0f}) {
      std::vector<double> expected;
      for (const float v : x)
        expected.push_back(
            std::copysign(std::pow(std::abs(static_cast<double>(v)), static_cast<double>(exponent)),
                          static_cast<double>(v)));
      expect_transformed(device(), exec(), 2, extent, x, expected, 4e-6,
                         [&](auto y, auto in, const Exec& on) { gamma(y, in, {exponent}, on); });
    }
  }
}

TEST_P(GammaTest, ZeroInfinityAndNanStay) {
  const std::vector<float> x{0.0f, INFINITY, -INFINITY, NAN, 1.0f};
  for_each_instruction_set(device(), [&] {
    Activation<float> y(device(), 1, 1, 1, 5, 1, x);
    gamma(y, y, {0.5f}, exec());  // in place
    const auto result = y.get();
    EXPECT_EQ(result[0], 0.0f);
    EXPECT_EQ(result[1], INFINITY);
    EXPECT_EQ(result[2], -INFINITY);
    EXPECT_TRUE(std::isnan(result[3]));
    EXPECT_EQ(result[4], 1.0f);
  });
}

TEST(GammaThreads, SameBitsForAnyNumberOfThreads) {
  expect_transform_thread_independent([](auto y, auto x, const Exec& on) { gamma(y, x, {1.3f}, on); });
}

TEST_P(GammaTest, WrongArgumentsAreErrors) {
  Activation<float> x(device(), 1, 2, 3, 4, 1), y(device(), 1, 2, 3, 4, 1);
  EXPECT_EQ(message_of([&] { gamma(y, x, {0}, exec()); }), "gamma: the exponent is 0, expected more than 0");
}

}  // namespace
}  // namespace vg::test
