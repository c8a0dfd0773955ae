// exp, sigmoid, log, square root and wide products on vectors. For *_cpu.cpp.
#pragma once

#include "kernels/common/simd.h"

namespace vg::kernels::cpu::VG_ISA {

VG_INLINE Vec bits_to_float(VecInt bits) {
  Vec v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
VG_INLINE VecInt float_to_bits(Vec v) {
  VecInt bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits;
}

/// e^x within 2 ulp over the whole range, infinity and denormals included; NaN stays NaN. Cody-Waite range
/// reduction and the polynomial of Cephes' expf.
VG_INLINE Vec exp(Vec x) {
  // The bound is the first operand, so that a NaN in x fails the comparison and is kept.
  x = min(broadcast(89.0f), max(broadcast(-104.0f), x));
  const Vec rounder = broadcast(0x1.8p23f);  // adding it rounds to an integer, which then is in the low bits
  const Vec shifted = x * broadcast(1.44269504f) + rounder;
  const Vec n = shifted - rounder;
  const VecInt exponent = float_to_bits(shifted) - float_to_bits(rounder);
  const Vec r = (x - n * broadcast(0.693359375f)) + n * broadcast(2.12194440e-4f);
  Vec p = broadcast(1.9875691500e-4f) * r + broadcast(1.3981999507e-3f);
  p = p * r + broadcast(8.3334519073e-3f);
  p = p * r + broadcast(4.1665795894e-2f);
  p = p * r + broadcast(1.6666665459e-1f);
  p = p * r + broadcast(5.0000001201e-1f);
  p = p * (r * r) + (r + broadcast(1.0f));
  // 2^n in two factors: n runs from -150 to 128, further than one exponent reaches.
  const VecInt half = exponent >> 1, rest = exponent - half;
  return p * bits_to_float((half + 127) << 23) * bits_to_float((rest + 127) << 23);
}

/// 1 / (1 + e^-x); NaN stays NaN.
VG_INLINE Vec sigmoid(Vec x) {
  return broadcast(1.0f) / (broadcast(1.0f) + exp(-x));
}

/// Natural logarithm of positive normal floats within 2 ulp (Cephes' logf); infinity and NaN stay.
VG_INLINE Vec log(Vec x) {
  const VecInt bits = float_to_bits(x);
  const VecInt exponent =
      (bits - 0x3F3504F3) >> 23;  // x = (1 + m) * 2^exponent, 1 + m in [sqrt(1/2), sqrt(2))
  const Vec m = bits_to_float(bits - (exponent << 23)) - broadcast(1.0f);
  const Vec n = __builtin_convertvector(exponent, Vec);
  Vec p = broadcast(7.0376836292e-2f) * m - broadcast(1.1514610310e-1f);
  p = p * m + broadcast(1.1676998740e-1f);
  p = p * m - broadcast(1.2420140846e-1f);
  p = p * m + broadcast(1.4249322787e-1f);
  p = p * m - broadcast(1.6668057665e-1f);
  p = p * m + broadcast(2.0000714765e-1f);
  p = p * m - broadcast(2.4999993993e-1f);
  p = p * m + broadcast(3.3333331174e-1f);
  const Vec square = m * m;
  const Vec tail = p * (m * square) - n * broadcast(2.12194440e-4f) - square * broadcast(0.5f);
  const Vec result = (m + tail) + n * broadcast(0.693359375f);  // ln 2 in two parts
  return x < broadcast(__builtin_inff()) ? result : x;
}

#if defined(VG_ISA_avx512)
// GCC 12 warns of an uninitialised operand in the intrinsics without a mask.
inline constexpr __mmask16 all_lanes = 0xFFFF;
#endif

VG_INLINE Vec square_root(Vec x) {
#if defined(VG_ISA_avx512)
  return (Vec)_mm512_maskz_sqrt_ps(all_lanes, (__m512)x);
#elif defined(VG_ISA_avx2)
  return (Vec)_mm256_sqrt_ps((__m256)x);
#else
  for (int i = 0; i < lanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

typedef uint32_t VecUint __attribute__((vector_size(lanes * sizeof(uint32_t))));

/// The 64-bit products of the even lanes.
VG_INLINE VecUint multiply_even(VecUint a, VecUint b) {
#if defined(VG_ISA_avx512)
  return (VecUint)_mm512_maskz_mul_epu32(all_lanes & 0xFF, (__m512i)a, (__m512i)b);
#elif defined(VG_ISA_avx2)
  return (VecUint)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#else
  typedef uint64_t VecUlong __attribute__((vector_size(lanes * sizeof(uint32_t))));
  return (VecUint)(((VecUlong)a & 0xFFFFFFFFu) * ((VecUlong)b & 0xFFFFFFFFu));
#endif
}
template <size_t... I>
VG_INLINE void wide_product(VecUint a, VecUint factor, VecUint& high, VecUint& low,
                            std::index_sequence<I...>) {
  const VecUint even = multiply_even(a, factor),
                odd = multiply_even(__builtin_shufflevector(a, a, (I | 1)...), factor);
  low = __builtin_shufflevector(even, odd, (I % 2 == 0 ? I : lanes + I - 1)...);
  high = __builtin_shufflevector(even, odd, (I % 2 == 0 ? I + 1 : lanes + I)...);
}

/// The two halves of the lanes' 64-bit products; kernels::WideProduct on vectors.
struct VecWideProduct {
  VG_INLINE void operator()(VecUint a, uint32_t factor, VecUint& high, VecUint& low) const {
    wide_product(a, VecUint{} + factor, high, low, std::make_index_sequence<lanes>());
  }
};

}  // namespace vg::kernels::cpu::VG_ISA
