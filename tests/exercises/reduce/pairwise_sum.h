// Exercise: a sum whose error grows with the logarithm of its length. Page: kernels/reduce/README.md.
#pragma once

#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::reduce {

/// The sum of values[0] .. values[count - 1], in float alone: no double, no integers, no compensation.
///
/// Added one after the other, n floats of similar size meet a total that is up to n times as large, and lose
/// up to log2(n) of their 24 bits. If instead the two halves of the array are summed first, and then added,
/// each value takes part in log2(n) additions only, always with a total of about its own size.
///
/// Solved when: any count (0 too: the sum is 0) is right, and the sum of 2^22 values is off by no more than
/// 25 roundings (one after the other loses some hundreds).
inline float pairwise_sum(const float* values, int64_t count) {
  not_solved();
}

}  // namespace exercise::reduce
