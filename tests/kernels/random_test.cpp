#include "kernels/random/random.h"

#include <cmath>

#include "kernels/common/philox.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using RandomTest = DeviceTest;
VG_ON_EVERY_DEVICE(RandomTest);

TEST_P(RandomTest, UniformIsTheGeneratorElementByElement) {
  for_each_instruction_set(device(), [&] {
    for (const Placement& p : placements()) {
      Activation<float> y(device(), 2, 2, 3, 3, 5, p);
      random_uniform(y, -2, 3.7f, 11, 12, exec());
      std::vector<float> expected;
      for (uint64_t i = 0; i < 180; ++i) expected.push_back(std::fma(5.7f, philox_uniform(11, 12, i), -2.0f));
      EXPECT_EQ(y.get(), expected);
    }
    Activation<float> flat(device(), 1, 1, 1, 20001, 1);  // cut into segments
    random_uniform(flat, 0, 1, 3, 0, exec());
    const auto values = flat.get();
    for (uint64_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], philox_uniform(3, 0, i));
  });
}

TEST_P(RandomTest, NormalIsBoxMullerElementByElement) {
  for_each_instruction_set(device(), [&] {
    Activation<float> y(device(), 1, 2, 3, 5, 3, Placement{1, 3, 2});
    random_normal(y, 1, 2, 5, 6, exec());
    std::vector<double> expected;
    for (uint64_t i = 0; i < 90; i += 2) {
      const double u = static_cast<double>(philox_uniform(5, 6, i)),
                   v = static_cast<double>(philox_uniform(5, 6, i + 1));
      const double radius = std::sqrt(-2 * std::log(1 - u)), angle = 2 * M_PI * v;
      expected.push_back(1 + 2 * radius * std::cos(angle));
      expected.push_back(1 + 2 * radius * std::sin(angle));
    }
    EXPECT_TRUE(all_close(y.get(), expected, 1e-5));
  });
}

TEST_P(RandomTest, MomentsAndIndependenceOfDraws) {
  const int64_t count = 40000;
  Activation<float> a(device(), 1, 1, 1, count, 1), b(device(), 1, 1, 1, count, 1);
  random_normal(a, 3, 0.5f, 1, 0, exec());
  random_normal(b, 3, 0.5f, 1, 1, exec());
  double mean = 0, variance = 0, correlation = 0;
  const auto u = a.get(), v = b.get();
  for (size_t i = 0; i < u.size(); ++i) {
    const double x = (static_cast<double>(u[i]) - 3) / 0.5, y = (static_cast<double>(v[i]) - 3) / 0.5;
    mean += x / count;
    variance += x * x / count;
    correlation += x * y / count;
  }
  // Five standard errors: 1, sqrt(2) and 1 over sqrt(count).
  EXPECT_NEAR(mean, 0, 0.025);
  EXPECT_NEAR(variance, 1, 0.036);
  EXPECT_NEAR(correlation, 0, 0.025);
}

TEST(RandomThreads, SameBitsForAnyNumberOfThreads) {
  expect_thread_independent([] {
    Workspace workspace(DeviceKind::cpu);
    Activation<float> y(DeviceKind::cpu, 2, 3, 20, 40, 4);
    random_normal(y, 0, 1, 9, 1, {DeviceKind::cpu, nullptr, &workspace});
    return y.get();
  });
}

TEST_P(RandomTest, WrongArgumentsAreErrors) {
  Activation<float> y(device(), 1, 1, 1, 2, 2);
  EXPECT_THROW(random_uniform(y, 1, 0, 0, 0, exec()), std::invalid_argument);
  EXPECT_THROW(random_normal(y, 0, -1, 0, 0, exec()), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
