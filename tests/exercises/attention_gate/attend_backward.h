// Exercise: the gradient of the gate from the score alone. Page: kernels/attention_gate/README.md.
#pragma once

#include <cmath>
#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::attention_gate {

/// Backward of the gate's last step, one voxel: y_c = x_c sigmoid(score), c < channels.
/// Given dy, overwrites dx[channels] (the direct part only) and returns dscore, from the score alone: psi is
/// not stored. Write the result so that no value but exp is needed twice.
inline double attend_backward(double* dx, const double* dy, const double* x, double score, int64_t channels) {
  not_solved();
}

}  // namespace exercise::attention_gate
