// Exercise: a comparison of integers that equals one of floats. Page: kernels/dropout/README.md.
#pragma once

#include <cmath>
#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::dropout {

/// The draw without floating point: the smallest 32-bit word that is kept. An element is dropped if
/// uniform_from_bits(word) = (word >> 8) 2^-24 is below `probability` in [0, 1); return T such that this is
/// `word < T` for every word. Exact, so that masks agree bit for bit with those of the float comparison.
inline uint32_t threshold(float probability) {
  not_solved();
}

}  // namespace exercise::dropout
