#pragma once

#include <bit>
#include <cstdint>

namespace exercise::elementwise {

struct Divider {
  uint64_t multiplier;
  int shift;
};

// m = ceil(2^s / d) = (2^s + e) / d with 0 <= e < d, so n m / 2^s = n / d + n e / (d 2^s). The fraction of n
// / d is at most (d - 1) / d, so the excess must stay below 1 / d: n e < 2^s, which n < 2^31 and e < d <= 2^b
// grant for s = 31 + b. Then m < 2^s / d + 1 <= 2^32 (for d > 2^(b-1)), and n m < 2^63 fits.
inline Divider make_divider(uint32_t divisor) {
  const int b = std::bit_width(divisor - 1);  // the least b with divisor <= 2^b
  const int shift = 31 + b;
  return {((uint64_t{1} << shift) + divisor - 1) / divisor, shift};
}

}  // namespace exercise::elementwise
