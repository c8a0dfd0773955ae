#include <gtest/gtest.h>

#include <cross_entropy/label_smoothing.h>
#include <cmath>
#include <vector>

#include "exercises/support/derivative.h"

namespace exercise::cross_entropy {
namespace {

TEST(CrossEntropyLabelSmoothing, NoSmoothingIsCrossEntropy) {
  const double x[3] = {1, 2, 4};
  double dx[3] = {NAN, NAN, NAN};
  EXPECT_NEAR(label_smoothing(dx, x, 1, 0, 3), std::log(std::exp(1) + std::exp(2) + std::exp(4)) - 2, 1e-14);
}

TEST(CrossEntropyLabelSmoothing, IsTheMeanOverTheSmoothedTarget) {
  const double x[2] = {0.5, -1};
  double dx[2];
  const double log_sum = std::log(std::exp(0.5) + std::exp(-1));
  EXPECT_NEAR(label_smoothing(dx, x, 0, 0.2, 2), 0.9 * (log_sum - 0.5) + 0.1 * (log_sum + 1), 1e-14);
}

TEST(CrossEntropyLabelSmoothing, GradientMatchesFiniteDifferences) {
  std::vector<double> x = {0.3, -2, 1.5, 0, 0.75}, dx(5, NAN), scratch(5);
  for (const int64_t label : {0, 2, 4}) {
    label_smoothing(dx.data(), x.data(), label, 0.1, 5);
    for (size_t c = 0; c < x.size(); ++c) {
      const auto loss = [&] { return label_smoothing(scratch.data(), x.data(), label, 0.1, 5); };
      EXPECT_NEAR(dx[c], derivative(x[c], loss), 1e-8) << "channel " << c << ", label " << label;
    }
  }
}

TEST(CrossEntropyLabelSmoothing, LargeLogitsAreFinite) {
  const double x[2] = {1000, -1000};
  double dx[2];
  EXPECT_NEAR(label_smoothing(dx, x, 1, 0, 2), 2000, 1e-9);
  EXPECT_NEAR(dx[0], 1, 1e-12);
  EXPECT_NEAR(dx[1], -1, 1e-12);
}

}  // namespace
}  // namespace exercise::cross_entropy
