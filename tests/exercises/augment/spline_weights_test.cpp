#include <gtest/gtest.h>

#include <augment/spline_weights.h>
#include <cmath>
#include <numeric>

namespace exercise::augment {
namespace {

TEST(AugmentSplineWeights, AddToOneAndAreNotNegative) {
  for (int i = 0; i < 64; ++i) {
    const auto weights = spline_weights(i / 64.0);
    EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0), 1, 1e-15) << "t = " << i / 64.0;
    for (const double weight : weights) EXPECT_TRUE(weight >= 0) << "t = " << i / 64.0;
  }
}

TEST(AugmentSplineWeights, ReproduceStraightLines) {
  for (int i = 0; i < 64; ++i) {
    const double t = i / 64.0;
    const auto weights = spline_weights(t);
    EXPECT_NEAR(-weights[0] + weights[2] + 2 * weights[3], t, 1e-14)
        << "control points -1, 0, 1, 2 at t = " << t;
  }
}

// Convolving the box of width 1 with itself four times makes the cubic B-spline: at its knots 1/6, 2/3, 1/6.
TEST(AugmentSplineWeights, AreTheCubicSplineAtItsKnots) {
  const auto weights = spline_weights(0);
  EXPECT_NEAR(weights[0], 1.0 / 6, 1e-15);
  EXPECT_NEAR(weights[1], 2.0 / 3, 1e-15);
  EXPECT_NEAR(weights[2], 1.0 / 6, 1e-15);
  EXPECT_NEAR(weights[3], 0, 1e-15);
}

TEST(AugmentSplineWeights, SecondDerivativeIsContinuous) {
  const double c[5] = {2, -1, 3, 0, -4}, h = 1e-3;
  const auto curve = [&](double place) {  // control points -1 to 3, places 0 to 2
    const int k = place < 1 ? 0 : 1;
    const auto weights = spline_weights(place - k);
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += weights[static_cast<size_t>(i)] * c[k + i];
    return sum;
  };
  const auto second = [&](double at) { return (curve(at - h) - 2 * curve(at) + curve(at + h)) / (h * h); };
  EXPECT_NEAR(second(1 - 2 * h), second(1 + 2 * h), 0.1)
      << "the curve's second derivative jumps at a control point";
}

}  // namespace
}  // namespace exercise::augment
