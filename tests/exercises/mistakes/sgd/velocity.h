// The old rate stays in the velocity.
#pragma once

namespace exercise::sgd {

inline void velocity_step(double& parameter, double& velocity, double gradient, double momentum,
                          double /*before*/, double now, bool first_step) {
  const double carried = first_step ? 0 : momentum * velocity;
  velocity = carried + now * gradient;
  parameter -= velocity;
}

}  // namespace exercise::sgd
