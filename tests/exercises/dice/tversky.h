// Exercise: two numbers about the whole volume. Page: kernels/dice/README.md.
#pragma once

#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::dice {

struct TverskyLoss {
  double value, by_intersection, by_prediction;
};

/// The Tversky loss of one channel, 1 - (I + smooth) / (I + alpha (P - I) + beta (T - I) + smooth), from the
/// sums I (intersection), P (prediction) and T (target): false positives weigh alpha, false negatives beta;
/// alpha = beta = 1/2 is Dice. Returns the loss and its derivatives with respect to I and P, the two numbers
/// that backward needs of the whole volume.
inline TverskyLoss tversky(double intersection, double prediction, double target, double alpha, double beta,
                           double smooth) {
  not_solved();
}

}  // namespace exercise::dice
