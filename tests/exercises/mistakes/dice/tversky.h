// The denominator holds the intersection too.
#pragma once

#include <cstdint>

namespace exercise::dice {

struct TverskyLoss {
  double value, by_intersection, by_prediction;
};

inline TverskyLoss tversky(double intersection, double prediction, double target, double alpha, double beta,
                           double smooth) {
  const double numerator = intersection + smooth;
  const double denominator =
      intersection + alpha * (prediction - intersection) + beta * (target - intersection) + smooth;
  const double ratio = numerator / denominator;
  return {1 - ratio, -1 / denominator, ratio * alpha / denominator};
}

}  // namespace exercise::dice
