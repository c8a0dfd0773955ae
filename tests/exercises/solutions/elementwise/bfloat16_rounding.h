#pragma once

#include <cstdint>

namespace exercise::elementwise {

// Adding just under half of the last place that stays carries exactly those above the half; adding that
// place's bit too makes the tie carry if it is odd. A carry out of the mantissa enters the exponent: the next
// power of two, or infinity.
inline uint16_t to_bfloat16(uint32_t bits) {
  const bool is_nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  if (is_nan)
    return static_cast<uint16_t>(bits >> 16 | 0x40u);  // quiet, also where the upper half says infinity
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace exercise::elementwise
