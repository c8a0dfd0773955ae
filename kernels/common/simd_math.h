// exp, sigmoid and log on vectors. For *_cpu.cpp.
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

}  // namespace vg::kernels::cpu::VG_ISA
