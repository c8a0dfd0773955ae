// Stores past the caches, for results larger than these, which nobody could read from them.
#pragma once

#include "kernels/common/simd.h"

namespace vg::kernels::cpu {

/// Results of more bytes than this may be streamed: the last level of caches of current processors.
int64_t streaming_threshold();
/// For tests.
void set_streaming_threshold(int64_t bytes);

}  // namespace vg::kernels::cpu

#ifdef VG_ISA  // only within *_cpu.cpp

namespace vg::kernels::cpu::VG_ISA {

/// True if whole vectors of y's channels should go to memory by stream(): they are cache lines, which then
/// are not read before they are written.
inline bool streams(const View<float>& y) {
  const auto whole = [](int64_t floats) { return floats % lanes == 0; };
  return lanes == 16 && y.elements() * static_cast<int64_t>(sizeof(float)) > streaming_threshold() &&
         whole(y.c) && whole(y.stride_w) && whole(y.stride_h) && whole(y.stride_d) && whole(y.stride_n) &&
         reinterpret_cast<uintptr_t>(y.data) % sizeof(Vec) == 0;
}
VG_INLINE void stream(float* p, Vec v) {
#if defined(VG_ISA_avx512)
  _mm512_stream_ps(p, (__m512)v);
#else
  store(p, v);
#endif
}
/// To be called by a thread that has streamed: others see what it wrote.
VG_INLINE void finish_streaming() {
#if defined(VG_ISA_avx512)
  _mm_sfence();
#endif
}

}  // namespace vg::kernels::cpu::VG_ISA

#endif
