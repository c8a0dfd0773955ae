// The mathematics that voxelwise transforms are written in: the same names for one voxel (float, on CUDA) and
// for a vector of neighbours (in *_cpu.cpp). Operators, comparisons and `condition ? a : b` work for both, as
// does a float beside a vector.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/common/philox.h"
#include "kernels/common/view.h"

#ifdef VG_ISA
#include "kernels/common/simd_math.h"
#endif

namespace vg::kernels::voxel {

VG_INLINE float exp(float x) {
  return expf(x);
}
VG_INLINE float log(float x) {
  return logf(x);
}
VG_INLINE float square_root(float x) {
  return sqrtf(x);
}
/// Of whole numbers from 0 to 2^24.
VG_INLINE uint32_t to_uint(float x) {
  return static_cast<uint32_t>(x);
}
VG_INLINE float to_float(uint32_t x) {
  return static_cast<float>(x);
}
VG_INLINE Uint4 philox(const Uint4& counter, uint64_t key) {
  return philox_rounds(counter, key, WideProduct{});
}

#ifdef VG_ISA
using cpu::VG_ISA::exp;
using cpu::VG_ISA::log;
using cpu::VG_ISA::square_root;
VG_INLINE cpu::VG_ISA::VecUint to_uint(cpu::VG_ISA::Vec x) {
  return (cpu::VG_ISA::VecUint) __builtin_convertvector(x, cpu::VG_ISA::VecInt);
}
VG_INLINE cpu::VG_ISA::Vec to_float(cpu::VG_ISA::VecUint x) {
  return __builtin_convertvector((cpu::VG_ISA::VecInt)x, cpu::VG_ISA::Vec);
}
VG_INLINE PhiloxBlock<cpu::VG_ISA::VecUint> philox(const PhiloxBlock<cpu::VG_ISA::VecUint>& counter,
                                                   uint64_t key) {
  return philox_rounds(counter, key, cpu::VG_ISA::VecWideProduct{});
}
#endif

/// The nearest whole number, for |x| < 2^22.
template <class V>
VG_INLINE V round(V x) {
  const float rounder = 0x1.8p23f;  // the sum has no bits for fractions
  return (x + rounder) - rounder;
}

/// cos(2 pi t) for |t| < 2^22, within 2e-7: a quarter turn is folded onto a minimax polynomial of the sine.
/// By turns, so that the argument is reduced exactly.
template <class V>
VG_INLINE V cos_turns(V t) {
  const V rest = t - round(t), s = 0.25f - (rest < 0.0f ? -rest : rest), u = s * s;
  V p = u * 39.760723f - 76.58128f;
  p = p * u + 81.60248f;
  p = p * u - 41.341682f;
  p = p * u + 6.2831855f;
  return p * s;
}

}  // namespace vg::kernels::voxel
