#include <gtest/gtest.h>

#include <dice/tversky.h>
#include <cmath>

#include "exercises/support/derivative.h"

namespace exercise::dice {
namespace {

TEST(DiceTversky, EqualWeightsAreDice) {
  const TverskyLoss loss = tversky(6, 10, 8, 0.5, 0.5, 1);
  EXPECT_NEAR(loss.value, 1 - (2 * 6.0 + 2) / (10 + 8 + 2.0), 1e-15);
}

TEST(DiceTversky, FalsePositivesWeighAlphaAndFalseNegativesBeta) {
  EXPECT_NEAR(tversky(6, 10, 8, 0.25, 1, 0).value, 1 - 6 / (6 + 0.25 * 4 + 1.0 * 2), 1e-15);
}

TEST(DiceTversky, DerivativesMatchFiniteDifferences) {
  for (const double alpha : {0.0, 0.3, 0.5, 1.0}) {
    for (const double smooth : {0.0, 1.0}) {
      double intersection = 3.5, prediction = 7.25;
      const double target = 9, beta = 1 - 0.5 * alpha;
      const auto value = [&] { return tversky(intersection, prediction, target, alpha, beta, smooth).value; };
      const TverskyLoss loss = tversky(intersection, prediction, target, alpha, beta, smooth);
      EXPECT_NEAR(loss.by_intersection, derivative(intersection, value), 1e-8) << "alpha " << alpha;
      EXPECT_NEAR(loss.by_prediction, derivative(prediction, value), 1e-8) << "alpha " << alpha;
    }
  }
}

}  // namespace
}  // namespace exercise::dice
