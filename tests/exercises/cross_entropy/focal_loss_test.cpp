#include <gtest/gtest.h>

#include <cross_entropy/focal_loss.h>
#include <cmath>
#include <vector>

#include "exercises/support/derivative.h"

namespace exercise::cross_entropy {
namespace {

TEST(CrossEntropyFocalLoss, GammaZeroIsCrossEntropy) {
  const double x[3] = {1, 2, 4};
  double dx[3];
  EXPECT_NEAR(focal_loss(dx, x, 1, 0, 3), std::log(std::exp(1) + std::exp(2) + std::exp(4)) - 2, 1e-14);
  EXPECT_NEAR(dx[0], std::exp(1) / (std::exp(1) + std::exp(2) + std::exp(4)), 1e-14);
}

TEST(CrossEntropyFocalLoss, ValueOfTwoChannels) {
  const double x[2] = {std::log(3.0), 0};  // probabilities 3/4 and 1/4
  double dx[2];
  EXPECT_NEAR(focal_loss(dx, x, 0, 2, 2), -std::log(0.75) / 16, 1e-14);
  EXPECT_NEAR(focal_loss(dx, x, 1, 2, 2), -std::log(0.25) * 9 / 16, 1e-14);
}

TEST(CrossEntropyFocalLoss, GradientMatchesFiniteDifferences) {
  std::vector<double> x = {0.3, -2, 1.5, 0, 0.75}, dx(5, NAN), scratch(5);
  for (const double gamma : {0.0, 0.5, 1.0, 2.0, 5.0}) {
    for (const int64_t label : {0, 2, 4}) {
      focal_loss(dx.data(), x.data(), label, gamma, 5);
      for (size_t c = 0; c < x.size(); ++c) {
        const auto loss = [&] { return focal_loss(scratch.data(), x.data(), label, gamma, 5); };
        EXPECT_NEAR(dx[c], derivative(x[c], loss), 1e-8)
            << "channel " << c << ", label " << label << ", gamma " << gamma;
      }
    }
  }
}

TEST(CrossEntropyFocalLoss, CertaintyIsZeroAndError2000) {
  const double x[2] = {1000, -1000};
  for (const double gamma : {0.0, 0.5, 2.0}) {
    double dx[2] = {NAN, NAN};
    EXPECT_EQ(focal_loss(dx, x, 0, gamma, 2), 0) << "gamma " << gamma;
    EXPECT_NEAR(dx[0], 0, 1e-12);
    EXPECT_NEAR(dx[1], 0, 1e-12);
    EXPECT_NEAR(focal_loss(dx, x, 1, gamma, 2), 2000, 1e-9) << "gamma " << gamma;
    EXPECT_NEAR(dx[1], -1, 1e-12);
  }
}

}  // namespace
}  // namespace exercise::cross_entropy
