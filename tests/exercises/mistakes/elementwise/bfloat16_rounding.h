// Ties go up, not to even.
#pragma once

#include <cstdint>

namespace exercise::elementwise {

inline uint16_t to_bfloat16(uint32_t bits) {
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x8000u) >> 16);
}

}  // namespace exercise::elementwise
