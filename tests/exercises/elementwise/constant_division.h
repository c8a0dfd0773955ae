// Exercise: division by a constant as a multiplication. Page: kernels/elementwise/README.md, "Memory
// picture".
#pragma once

#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::elementwise {

/// What is worked out once, on the host, for a divisor.
struct Divider {
  uint64_t multiplier;
  int shift;
};

/// A GPU has no instruction for integer division: it takes dozens. To find row and plane of a voxel, kernels
/// divide by extents that are the same for a whole launch, so a multiplication by a scaled reciprocal can do
/// it:
///
///     n / divisor = n * multiplier >> shift        for all 0 <= n < 2^31 and 1 <= divisor < 2^31
///
/// Choose both so that the product fits 64 bits and the quotient is exact. A reciprocal rounded up makes n m
/// / 2^s too large by less than n / 2^s: how large must s be, so that it never reaches the next integer? And
/// how small, to fit? (kernels/common/divider.h does the same up to 2^62, with a product of 128 bits.)
inline Divider make_divider(uint32_t divisor) {
  not_solved();
}

}  // namespace exercise::elementwise
