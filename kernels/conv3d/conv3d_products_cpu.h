// How a tile of a convolution multiplies: floats, or pairs of bfloat16 in the place of a float. For
// *_cpu.cpp.
//
// With bfloat16 a 32-bit word holds two neighbouring input channels, the first in its low half; a vector of
// weights holds such a pair for each output channel. Everything else about a tile stays as it is, with pairs
// for channels: half as many steps of twice the products.
#pragma once

#include "kernels/common/simd.h"
#include "kernels/common/simd_math.h"

namespace vg::kernels::cpu::VG_ISA {

/// Calls of this namespace's functions with bfloat16 products need the instruction; without AVX-512 it is
/// computed with floats.
VG_INLINE bool has_bfloat16_products() {
#if defined(VG_ISA_avx512)
  return __builtin_cpu_supports("avx512bf16");
#else
  return true;
#endif
}

/// The lanes rounded to bfloat16, to nearest, ties to even; NaN stays NaN. AVX-512 takes denormals for zero.
typedef uint16_t HalfWords __attribute__((vector_size(lanes * sizeof(uint16_t))));
VG_INLINE HalfWords round_to_bfloat16(Vec v) {
#if defined(VG_ISA_avx512)
  HalfWords result;
  asm("vcvtneps2bf16 %1, %0" : "=v"(result) : "v"(v));
  return result;
#else
  typedef uint32_t Words __attribute__((vector_size(lanes * sizeof(uint32_t))));
  Words bits;
  std::memcpy(&bits, &v, sizeof bits);
  const Words rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16, quiet = bits >> 16 | 0x40u;
  return __builtin_convertvector((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded, HalfWords);
#endif
}

struct FloatProducts {
  static VG_INLINE Vec multiply_add(Vec weights, Vec inputs, Vec sum) { return sum + weights * inputs; }
};

/// sum + w_high * x_high + w_low * x_low, in float (AVX512_BF16's VDPBF16PS).
struct Bfloat16Products {
  static VG_INLINE Vec multiply_add(Vec weights, Vec inputs, Vec sum) {
#if defined(VG_ISA_avx512)
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(inputs));
    return sum;
#else
    const VecInt w = float_to_bits(weights), x = float_to_bits(inputs);
    sum += bits_to_float(w & -65536) * bits_to_float(x & -65536);
    return sum + bits_to_float(w << 16) * bits_to_float(x << 16);
#endif
  }
};

}  // namespace vg::kernels::cpu::VG_ISA
