#include <gtest/gtest.h>

#include <sgd/velocity.h>
#include <cmath>

namespace exercise::sgd {
namespace {

TEST(SgdVelocity, FollowsPyTorchWhenTheRateChanges) {
  const double gradients[6] = {1, -0.5, 2, 0.25, -3, 1}, rates[6] = {0.1, 0.1, 0.05, 0.2, 0.2, 0.001};
  double expected = 1, buffer = 0, parameter = 1, velocity = NAN;
  for (int step = 0; step < 6; ++step) {
    buffer = step == 0 ? gradients[0] : 0.9 * buffer + gradients[step];
    expected -= rates[step] * buffer;
    velocity_step(parameter, velocity, gradients[step], 0.9, rates[step == 0 ? 0 : step - 1], rates[step],
                  step == 0);
    EXPECT_NEAR(parameter, expected, 1e-12) << "step " << step;
    EXPECT_NEAR(velocity, rates[step] * buffer, 1e-12) << "velocity, step " << step;
  }
}

}  // namespace
}  // namespace exercise::sgd
