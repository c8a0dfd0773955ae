#include "kernels/augment/noise.h"

#include "kernels/common/philox.h"
#include "support/augment_test.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using NoiseTest = DeviceTest;
VG_ON_EVERY_DEVICE(NoiseTest);

// Box and Muller's formula on pairs of the generator's numbers.
double normal_number(uint64_t seed, uint64_t i) {
  const uint64_t pair = i / 2 * 2;
  const double u = static_cast<double>(philox_uniform(seed, 0, pair)),
               v = static_cast<double>(philox_uniform(seed, 0, pair + 1));
  const double radius = std::sqrt(-2 * std::log(1 - u)), angle = 2 * M_PI * v;
  return radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

// Rows whose first voxel has any place within a block of the generator.
TEST_P(NoiseTest, IsTheGeneratorsNumberOfEachVoxel) {
  for (const Extents3& extent : {Extents3{1, 1, 1}, {2, 3, 5}, {3, 2, 17}, {1, 3, 33}, {2, 2, 16}}) {
    const auto x = uniform(2 * count_of(extent), 1);
    for (const uint64_t seed : {uint64_t{0}, uint64_t{0x123456789ABCDEF0}}) {
      std::vector<double> expected;
      for (size_t i = 0; i < x.size(); ++i)
        expected.push_back(static_cast<double>(x[i]) + 3 + 0.5 * normal_number(seed, i));
      expect_transformed(device(), exec(), 2, extent, x, expected, 1e-5,
                         [&](auto y, auto in, const Exec& on) {
                           noise(y, in, {3, 0.5f, seed}, on);
                         });
    }
  }
}

TEST_P(NoiseTest, MomentsAndIndependenceOfSeeds) {
  const int64_t count = 20000;
  const auto draw = [&](uint64_t seed) {
    Activation<float> y(device(), 1, 5, 40, 100, 1, std::vector<float>(static_cast<size_t>(count)));
    noise(y, y, {0, 1, seed}, exec());  // in place
    return y.get();
  };
  const auto u = draw(1), v = draw(2);
  EXPECT_EQ(draw(1), u);
  double mean = 0, variance = 0, correlation = 0, neighbours = 0;
  for (size_t i = 0; i < u.size(); ++i) {
    const double a = static_cast<double>(u[i]), b = static_cast<double>(v[i]);
    mean += a / count, variance += a * a / count, correlation += a * b / count;
    if (i > 0) neighbours += a * static_cast<double>(u[i - 1]) / count;
  }
  // Five standard errors: 1, sqrt(2), 1 and 1 over sqrt(count).
  EXPECT_NEAR(mean, 0, 0.036);
  EXPECT_NEAR(variance, 1, 0.05);
  EXPECT_NEAR(correlation, 0, 0.036);
  EXPECT_NEAR(neighbours, 0, 0.036);
}

TEST(NoiseThreads, SameBitsForAnyNumberOfThreads) {
  expect_transform_thread_independent([](auto y, auto x, const Exec& on) { noise(y, x, {0, 1, 5}, on); });
}

TEST_P(NoiseTest, WrongArgumentsAreErrors) {
  Activation<float> x(device(), 1, 2, 3, 4, 1), y(device(), 1, 2, 3, 4, 1);
  EXPECT_EQ(message_of([&] {
              noise(y, x, {0, -1, 0}, exec());
            }),
            "noise: the standard deviation is -1, expected at least 0");
}

}  // namespace
}  // namespace vg::test
