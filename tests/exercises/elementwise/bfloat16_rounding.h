// Exercise: rounding to bfloat16 by integers. Page: kernels/elementwise/README.md, "Formula".
#pragma once

#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::elementwise {

/// The upper 16 bits of a float (given as its 32 bits) are a bfloat16. Rounded to the nearest one, of two
/// equally near the one whose lowest bit is 0. What rounds beyond the largest becomes infinity; NaN stays
/// NaN, with its sign.
///
/// Integer arithmetic is enough: floats of one sign are ordered as their bits are.
///
/// Solved when: all that is checked below is right: ties, carries into the exponent, infinities, NaN whose
/// bits are all in the lower half, denormals, random bits.
inline uint16_t to_bfloat16(uint32_t bits) {
  not_solved();
}

}  // namespace exercise::elementwise
