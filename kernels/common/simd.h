// CPU instruction sets. Every *_cpu.cpp is compiled once per set (portable, AVX2, AVX-512) into a namespace
// of its own, from one source written with the compiler's vector types; which one runs is chosen at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(VG_ISA_avx512) || defined(VG_ISA_avx2)
#include <immintrin.h>
#endif

#include "kernels/common/view.h"

namespace vg::kernels::cpu {

enum class Isa : uint8_t { portable, avx2, avx512 };

/// The best instruction set of this processor, or the one that the environment variable VOXGRAD_ISA
/// (portable | avx2 | avx512) or force_isa asks for. Throws std::runtime_error if the processor lacks it.
Isa active_isa();
void force_isa(Isa isa);
bool isa_supported(Isa isa);
const char* isa_name(Isa isa);

}  // namespace vg::kernels::cpu

#ifdef VG_ISA  // only within *_cpu.cpp

namespace vg::kernels::cpu::VG_ISA {

#if defined(VG_ISA_avx512)
inline constexpr int lanes = 16;
#elif defined(VG_ISA_avx2)
inline constexpr int lanes = 8;
#else
inline constexpr int lanes = 4;
#endif

/// A vector of `lanes` floats with the usual operators; `a * b + c` becomes one FMA where the processor has
/// it.
typedef float Vec __attribute__((vector_size(lanes * sizeof(float))));
typedef int32_t VecInt __attribute__((vector_size(lanes * sizeof(int32_t))));

VG_INLINE Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
VG_INLINE void store(float* p, Vec v) {
  std::memcpy(p, &v, sizeof v);
}
VG_INLINE Vec broadcast(float value) {
  return value - Vec{};  // minus zero changes no value, so that no instruction is left of it; plus would
}
#if defined(VG_ISA_avx2)
/// All bits set in the first `count` lanes.
VG_INLINE VecInt first_lanes(int64_t count) {
  const VecInt index = {0, 1, 2, 3, 4, 5, 6, 7};
  return index < VecInt{} + static_cast<int32_t>(count);
}
#endif
/// The first `count` < lanes floats; the rest is zero.
VG_INLINE Vec load_partial(const float* p, int64_t count) {
#if defined(VG_ISA_avx512)
  return (Vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
#elif defined(VG_ISA_avx2)
  return (Vec)_mm256_maskload_ps(p, (__m256i)first_lanes(count));
#else
  Vec v{};
  for (int i = 0; i < lanes - 1; ++i) {
    if (i < count) v[i] = p[i];
  }
  return v;
#endif
}
VG_INLINE void store_partial(float* p, Vec v, int64_t count) {
#if defined(VG_ISA_avx512)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), (__m512)v);
#elif defined(VG_ISA_avx2)
  _mm256_maskstore_ps(p, (__m256i)first_lanes(count), (__m256)v);
#else
  for (int i = 0; i < lanes - 1; ++i) {
    if (i < count) p[i] = v[i];
  }
#endif
}
VG_INLINE Vec load_up_to(const float* p, int64_t count) {
  return count >= lanes ? load(p) : load_partial(p, count);
}
VG_INLINE void store_up_to(float* p, Vec v, int64_t count) {
  if (count >= lanes) {
    store(p, v);
  } else {
    store_partial(p, v, count);
  }
}
VG_INLINE Vec max(Vec a, Vec b) {
  return a > b ? a : b;
}
VG_INLINE Vec min(Vec a, Vec b) {
  return a < b ? a : b;
}
/// The lanes added in a fixed order, as a tree.
VG_INLINE float horizontal_sum(Vec v) {
#if defined(VG_ISA_avx512)
  const auto eight = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                     __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
#elif defined(VG_ISA_avx2)
  const auto four = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
  const Vec four = v;
#endif
  return (four[0] + four[2]) + (four[1] + four[3]);
}
/// Exchanges the off-diagonal blocks of `Size` lanes of two rows of a matrix that is being transposed.
template <int Size, size_t... Lane>
VG_INLINE void exchange_blocks(Vec& upper, Vec& lower, std::index_sequence<Lane...>) {
  const Vec a = upper, b = lower;
  upper = __builtin_shufflevector(a, b, ((Lane & Size) != 0 ? Lane - Size + lanes : Lane)...);
  lower = __builtin_shufflevector(a, b, ((Lane & Size) != 0 ? Lane + lanes : Lane + Size)...);
}
template <int Size>
VG_INLINE void transpose_blocks(Vec (&rows)[lanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) {
    if ((i & Size) == 0) exchange_blocks<Size>(rows[i], rows[i + Size], std::make_index_sequence<lanes>());
  }
  if constexpr (Size > 1) transpose_blocks<Size / 2>(rows);
}
/// Transposes a matrix of lanes x lanes floats.
VG_INLINE void transpose(Vec (&rows)[lanes]) {
  transpose_blocks<lanes / 2>(rows);
}

}  // namespace vg::kernels::cpu::VG_ISA

#endif
