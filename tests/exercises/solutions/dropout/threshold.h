#pragma once

#include <cmath>
#include <cstdint>

namespace exercise::dropout {

inline uint32_t threshold(float probability) {
  return static_cast<uint32_t>(std::ceil(static_cast<double>(probability) * 0x1p24)) << 8;
}

}  // namespace exercise::dropout
