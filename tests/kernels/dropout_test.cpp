#include "kernels/dropout/dropout.h"

#include "kernels/common/philox.h"
#include "support/bfloat16_cases.h"
#include "support/buffer.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using DropoutTest = DeviceTest;
VG_ON_EVERY_DEVICE(DropoutTest);

TEST_P(DropoutTest, MaskFollowsTheGeneratorOnEveryPlacement) {
  const int64_t count = 2 * 2 * 3 * 3 * 5;
  const auto x = integers(count, 1);
  for_each_instruction_set(device(), [&] {
    for (const Placement& p : placements()) {
      for (const float probability : {0.0f, 0.5f, 0.75f}) {
        std::vector<float> expected(x);
        for (uint64_t i = 0; i < expected.size(); ++i)
          expected[i] = philox_uniform(7, 8, i) < probability ? 0 : x[i] / (1 - probability);
        Activation<float> vx(device(), 2, 2, 3, 3, 5, x, p), y(device(), 2, 2, 3, 3, 5);
        dropout(y, vx, {probability, 7, 8}, exec());
        EXPECT_EQ(y.get(), expected);
        dropout(vx, vx, {probability, 7, 8}, exec());
        EXPECT_EQ(vx.get(), expected);
      }
    }
  });
}

// y is linear in x with the same mask, so the backward pass is the forward pass on dy: <dy, D x> = <D dy, x>.
TEST_P(DropoutTest, IsItsOwnTranspose) {
  const auto x = integers(96, 1), dy = integers(96, 2);
  Activation<float> vx(device(), 1, 2, 3, 4, 4, x), g(device(), 1, 2, 3, 4, 4, dy),
      y(device(), 1, 2, 3, 4, 4), dx(device(), 1, 2, 3, 4, 4);
  const DropoutParams params{0.5f, 3, 4};
  dropout(y, vx, params, exec());
  dropout(dx, g, params, exec());
  const auto forward = y.get(), backward = dx.get();
  float a = 0, b = 0;
  for (size_t i = 0; i < 96; ++i) a += dy[i] * forward[i], b += backward[i] * x[i];
  EXPECT_EQ(a, b);
  EXPECT_NE(a, 0);
}

TEST_P(DropoutTest, KeepsTheExpectedShare) {
  const int64_t count = 40000;
  Activation<float> x(device(), 1, 1, 1, count, 1, std::vector<float>(count, 1.0f)),
      y(device(), 1, 1, 1, count, 1);
  dropout(y, x, {0.3f, 1, 2}, exec());
  double mean = 0;
  for (float v : y.get()) mean += static_cast<double>(v) / count;
  EXPECT_NEAR(mean, 1, 0.017);  // five standard errors, sqrt(.3 / .7 / count)
}

TEST(DropoutThreads, SameBitsForAnyNumberOfThreads) {
  const auto x = uniform(19200, 1);
  expect_thread_independent([&] {
    Workspace workspace(DeviceKind::cpu);
    Activation<float> vx(DeviceKind::cpu, 2, 3, 20, 40, 4, x), y(DeviceKind::cpu, 2, 3, 20, 40, 4);
    dropout(y, vx, {0.5f, 1, 2}, {DeviceKind::cpu, nullptr, &workspace});
    return y.get();
  });
}

TEST_P(DropoutTest, WrongArgumentsAreErrors) {
  Activation<float> a(device(), 1, 1, 1, 4, 2), b(device(), 1, 1, 1, 4, 3);
  EXPECT_THROW(dropout(a, b, {}, exec()), std::invalid_argument);
  EXPECT_THROW(dropout(a, a, {1.0f, 0, 0}, exec()), std::invalid_argument);
  EXPECT_THROW(dropout(a, a, {-0.5f, 0, 0}, exec()), std::invalid_argument);
}

TEST(DropoutBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 1, 1, 2, 8);
  EXPECT_THROW(dropout(x, x, {}, {DeviceKind::cpu, nullptr, &workspace}), std::invalid_argument);
}

using DropoutBfloat16Test = DeviceTest;
VG_ON_CUDA(DropoutBfloat16Test);

TEST_P(DropoutBfloat16Test, MaskFollowsTheGeneratorOnEveryPlacement) {
  for (const int64_t c : bfloat16_channels) {
    const auto x = rounded<bfloat16>(uniform(2 * 2 * 3 * 3 * c, 1));
    for (const Placement& p : bfloat16_placements(c)) {
      for (const float probability : {0.5f, 0.2f}) {
        std::vector<float> expected(x);
        for (uint64_t i = 0; i < expected.size(); ++i)
          expected[i] = philox_uniform(7, 8, i) < probability ? 0 : x[i] * (1 / (1 - probability));
        Activation<bfloat16> vx(device(), 2, 2, 3, 3, c, stored<bfloat16>(x), p), y(device(), 2, 2, 3, 3, c),
            z(device(), 2, 2, 3, 3, c, p);
        dropout(y, vx, {probability, 7, 8}, exec());
        EXPECT_EQ(to_floats(y.get()), rounded<bfloat16>(expected));
        dropout(z, vx, {probability, 7, 8}, exec());
        EXPECT_EQ(to_floats(z.get()), rounded<bfloat16>(expected));
      }
    }
  }
}

}  // namespace
}  // namespace vg::test
