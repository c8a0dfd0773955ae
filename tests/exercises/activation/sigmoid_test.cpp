#include <activation/sigmoid.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/random_data.h"

namespace exercise::activation {
namespace {

/// In double, which overflows for none of the inputs below.
double exact(double x) {
  return 1 / (1 + std::exp(-x));
}

float counted_sigmoid(float x, int& exponentials) {
  return sigmoid(x, [&](float argument) {
    ++exponentials;
    EXPECT_LE(argument, 0) << "an exponential of a positive number, for x = " << x << ": it can overflow";
    return std::exp(argument);
  });
}

TEST(ActivationSigmoid, RightEverywhereWithOneExponential) {
  auto inputs = vg::test::uniform(1000, 1, -20, 20);
  for (const float x : {0.0f, -0.0f, 1e-10f, 17.0f, -17.0f, 80.0f, -80.0f, 100.0f, -100.0f})
    inputs.push_back(x);
  for (const float x : inputs) {
    int exponentials = 0;
    const float y = counted_sigmoid(x, exponentials);
    EXPECT_NEAR(y, exact(x), 4e-7 * exact(x) + 1e-37) << "at x = " << x;
    EXPECT_LE(exponentials, 1) << "exponentials for one value";
  }
}

TEST(ActivationSigmoid, GradientIsTheSlope) {
  for (const float x : vg::test::uniform(200, 2, -6, 6)) {
    const double h = 1e-5, slope = (exact(x + h) - exact(x - h)) / (2 * h);
    EXPECT_NEAR(sigmoid_backward(3, static_cast<float>(exact(x))), 3 * slope, 3e-6)
        << "at x = " << x << ", dy = 3";
  }
}

}  // namespace
}  // namespace exercise::activation
