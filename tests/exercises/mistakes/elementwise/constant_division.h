// 32 bits of reciprocal whatever the divisor: wrong for large n and divisors.
#pragma once

#include <cstdint>

namespace exercise::elementwise {

struct Divider {
  uint64_t multiplier;
  int shift;
};

inline Divider make_divider(uint32_t divisor) {
  return {((uint64_t{1} << 32) + divisor - 1) / divisor, 32};
}

}  // namespace exercise::elementwise
