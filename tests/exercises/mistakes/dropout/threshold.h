// Rounded down: a probability between two multiples of 2^-24 loses a word.
#pragma once

#include <cmath>
#include <cstdint>

namespace exercise::dropout {

inline uint32_t threshold(float probability) {
  return static_cast<uint32_t>(std::floor(static_cast<double>(probability) * 0x1p24)) << 8;
}

}  // namespace exercise::dropout
