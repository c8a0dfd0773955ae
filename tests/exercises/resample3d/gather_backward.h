// Exercise: a gradient that gathers what others scatter. Page: kernels/resample3d/README.md.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>

#include "exercises/support/not_solved.h"

namespace exercise::resample3d {

/// Gradient of linear interpolation of a line (align_corners false) in gather form: dx[inputs] from
/// dy[outputs]. Output o reads the position s = max(0, inputs / outputs (o + 1/2) - 1/2): input i0 = floor(s)
/// with the weight 1 - a and input min(i0 + 1, inputs - 1) with a = s - i0. `store(i, value)` takes each dx
/// once: threads that scatter with += would race.
inline void gather_backward(const std::function<void(int64_t, double)>& store, const double* dy,
                            int64_t inputs, int64_t outputs) {
  not_solved();
}

}  // namespace exercise::resample3d
