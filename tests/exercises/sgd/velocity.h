// Exercise: momentum with the learning rate inside. Page: kernels/sgd/README.md.
#pragma once

#include "exercises/support/not_solved.h"

namespace exercise::sgd {

/// Sutskever's form of momentum keeps the velocity v = lr b, with the learning rate inside: p <- p - v. Write
/// the step in this form so that p follows PyTorch's (b <- mu b + g, p <- p - lr b) although the learning
/// rate changes from step to step: `before` is the rate of the last step, `now` that of this one, neither is
/// 0. At the first step b is g. Updates p and v of one element in place.
inline void velocity_step(double& parameter, double& velocity, double gradient, double momentum,
                          double before, double now, bool first_step) {
  not_solved();
}

}  // namespace exercise::sgd
