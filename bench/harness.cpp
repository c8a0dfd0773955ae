#include "bench/harness.h"

#include <omp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>

#include "kernels/common/simd.h"

namespace vg::bench {

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Enough independent chains to cover the latency of two FMA units.
constexpr int chains = 12;
constexpr long rounds = 4'000'000;

typedef float Vec4 __attribute__((vector_size(16)));
typedef float Vec8 __attribute__((vector_size(32)));
typedef float Vec16 __attribute__((vector_size(64)));

template <class Vec>
__attribute__((always_inline)) inline float fma_rounds() {
  // Every loop over the chains is unrolled, so that they stay in registers.
  Vec accumulator[chains];
#pragma GCC unroll 12
  for (int i = 0; i < chains; ++i)
    accumulator[i] = Vec{} + static_cast<float>(i + 2);  // not 1, the fixed point: it would be folded
  const Vec factor = Vec{} + 0.999f, term = Vec{} + 0.001f;
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) accumulator[i] = accumulator[i] * factor + term;
  }
  Vec total = accumulator[0];
#pragma GCC unroll 12
  for (int i = 1; i < chains; ++i) total += accumulator[i];
  float sum = 0;
  for (size_t l = 0; l < sizeof(Vec) / sizeof(float); ++l) sum += total[l];
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) float fma_avx512() {
  return fma_rounds<Vec16>();
}
__attribute__((target("avx2,fma"))) float fma_avx2() {
  return fma_rounds<Vec8>();
}
#endif
float fma_portable() {
  return fma_rounds<Vec4>();
}

}  // namespace

Timing measure(const std::function<void()>& body, int warmup, int runs) {
  for (int i = 0; i < warmup; ++i) body();
  std::vector<double> seconds;
  for (int i = 0; i < runs; ++i) {
    const double start = seconds_now();
    body();
    seconds.push_back(seconds_now() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  const size_t middle = seconds.size() / 2;
  const double median =
      seconds.size() % 2 == 1 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
  return {median, seconds.front(), seconds.back()};
}

double fma_peak_gflops() {
  float (*body)() = fma_portable;
  int lanes = 4;
#if defined(__x86_64__)
  if (kernels::cpu::isa_supported(kernels::cpu::Isa::avx512)) {
    body = fma_avx512;
    lanes = 16;
  } else if (kernels::cpu::isa_supported(kernels::cpu::Isa::avx2)) {
    body = fma_avx2;
    lanes = 8;
  }
#endif
  double best = 0;
  for (int run = 0; run < 3; ++run) {
    volatile float sink = 0;
    const double start = seconds_now();
#pragma omp parallel
    {
      const float sum = body();
#pragma omp critical
      sink = sink + sum;
    }
    const double flops = 2.0 * lanes * chains * static_cast<double>(rounds) * omp_get_max_threads();
    best = std::max(best, flops / (seconds_now() - start) / 1e9);
  }
  return best;
}

size_t peak_resident_bytes() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace vg::bench
