// Conversions between float and bfloat16, for host and device.
#pragma once

#include <cstring>

#include "kernels/common/view.h"

namespace vg::kernels {

/// Rounds to nearest, ties to even; NaN stays NaN.
VG_INLINE bfloat16 to_bfloat16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
    return {static_cast<uint16_t>(bits >> 16 | 0x40)};  // NaN: keep it quiet
  return {static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16)};
}

VG_INLINE float to_float(bfloat16 value) {
  const uint32_t bits = uint32_t{value.bits} << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

/// For kernels written once for both types.
VG_INLINE float to_float(float value) {
  return value;
}
template <class T>
VG_INLINE T from_float(float value) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    return to_bfloat16(value);
  } else {
    return value;
  }
}

}  // namespace vg::kernels
