// Exercise: a filter of the spectrum without a transform. Page: kernels/augment/README.md.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "exercises/support/not_solved.h"

namespace exercise::augment {

/// Ghosting as a matrix: plane p (of `length`) of the centred spectrum of a line, frequency p - length / 2
/// (whole-number division), is multiplied by factors[p]; the result is the real part of the inverse
/// transform. Overwrites the row-major matrix[length * length], so that y = matrix x. The spectrum is never
/// computed, and cos gets angles that are right for any length (reduce frequency times index as whole numbers
/// first).
inline void ghosting_matrix(double* matrix, const double* factors, int64_t length) {
  not_solved();
}

}  // namespace exercise::augment
