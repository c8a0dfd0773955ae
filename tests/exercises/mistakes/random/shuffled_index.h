// A remainder in place of walking on: two indices meet.
#pragma once

#include <cstdint>
#include "kernels/common/philox.h"

namespace exercise::random {

inline uint64_t shuffled_index(uint64_t index, uint64_t count, uint64_t seed) {
  int bits = 1;
  while ((uint64_t{1} << (2 * bits)) < count) ++bits;
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  {
    uint64_t left = index >> bits, right = index & mask;
    for (uint64_t round = 0; round < 6; ++round) {
      const uint64_t next = left ^ (vg::kernels::philox(seed, right, round).x & mask);
      left = right;
      right = next;
    }
    index = left << bits | right;
  }
  return index % count;
}

}  // namespace exercise::random
