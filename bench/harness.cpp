#include "bench/harness.h"

#include <omp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>

#include "engine/tensor.h"
#include "kernels/common/check.h"
#include "kernels/common/simd.h"

namespace vg::bench {

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double cpu_seconds_now() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
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

Timing timing_of(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const size_t middle = seconds.size() / 2;
  const double median =
      seconds.size() % 2 == 1 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
  return {median, seconds.front(), seconds.back()};
}

Timing measure_by(double (*now)(), const std::function<void(int)>& body, int warmup, int runs) {
  for (int i = 0; i < warmup; ++i) body(i);
  std::vector<double> seconds;
  for (int i = 0; i < runs; ++i) {
    const double start = now();
    body(warmup + i);
    seconds.push_back(now() - start);
  }
  return timing_of(std::move(seconds));
}

#ifdef VOXGRAD_WITH_CUDA
CudaEvent make_timing_event() {
  cudaEvent_t event = nullptr;
  kernels::check_cuda(cudaEventCreate(&event));
  return CudaEvent(event);
}

// All runs are queued before the first is waited for: the host's part is then no part of the times.
Timing measure_cuda(const std::function<void(int)>& body, int warmup, int runs) {
  const auto stream = static_cast<cudaStream_t>(Context::get().exec(Device::cuda).stream);
  for (int i = 0; i < warmup; ++i) body(i);
  std::vector<CudaEvent> starts, ends;
  for (int i = 0; i < runs; ++i) {
    starts.push_back(make_timing_event());
    ends.push_back(make_timing_event());
  }
  for (int i = 0; i < runs; ++i) {
    kernels::check_cuda(cudaEventRecord(starts[static_cast<size_t>(i)].get(), stream));
    body(warmup + i);
    kernels::check_cuda(cudaEventRecord(ends[static_cast<size_t>(i)].get(), stream));
  }
  kernels::check_cuda(cudaStreamSynchronize(stream));
  std::vector<double> seconds;
  for (size_t i = 0; i < starts.size(); ++i) {
    float milliseconds = 0;
    kernels::check_cuda(cudaEventElapsedTime(&milliseconds, starts[i].get(), ends[i].get()));
    seconds.push_back(1e-3 * static_cast<double>(milliseconds));
  }
  return timing_of(std::move(seconds));
}
#endif

// Largest cache that Linux names for the first processor; 32 MiB if it names none.
size_t cpu_cache_bytes() {
  size_t largest = 0;
  for (int index = 0; index < 8; ++index) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
    size_t size = 0;
    char unit = 'K';
    if (file >> size >> unit) largest = std::max(largest, size << (unit == 'M' ? 20 : 10));
  }
  return largest > 0 ? largest : size_t{32} << 20;
}

}  // namespace

Timing measure(const std::function<void()>& body, int warmup, int runs) {
  return measure_on(
      Device::cpu, [&](int) { body(); }, warmup, runs);
}

Timing measure_on(Device device, const std::function<void(int)>& body, int warmup, int runs) {
#ifdef VOXGRAD_WITH_CUDA
  if (device == Device::cuda) return measure_cuda(body, warmup, runs);
#endif
  if (device == Device::cuda) kernels::throw_built_without_cuda();
  return measure_by(seconds_now, body, warmup, runs);
}

Timing measure_cpu_time(const std::function<void(int)>& body, int warmup, int runs) {
  return measure_by(cpu_seconds_now, body, warmup, runs);
}

size_t last_level_cache_bytes(Device device) {
#ifdef VOXGRAD_WITH_CUDA
  if (device == Device::cuda) {
    int bytes = 0;
    kernels::check_cuda(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, 0));
    return static_cast<size_t>(bytes);
  }
#endif
  if (device == Device::cuda) kernels::throw_built_without_cuda();
  return cpu_cache_bytes();
}

int rotated_sets(Device device, size_t bytes) {
  const size_t wanted = 2 * last_level_cache_bytes(device);
  return static_cast<int>(std::clamp<size_t>((wanted + bytes - 1) / std::max<size_t>(bytes, 1), 1, 128));
}

double copy_peak_gbs() {
  const auto bytes = static_cast<int64_t>(8 * last_level_cache_bytes(Device::cpu));
  const Tensor from = Tensor::zeros({bytes}, DType::uint8), to = Tensor::zeros({bytes}, DType::uint8);
  const auto* source = from.data<const uint8_t>();
  auto* destination = to.data<uint8_t>();
  const Timing timing = measure(
      [&] {
        constexpr int64_t piece = 1 << 20;
#pragma omp parallel for schedule(static)
        for (int64_t begin = 0; begin < bytes; begin += piece)
          std::memcpy(destination + begin, source + begin,
                      static_cast<size_t>(std::min(piece, bytes - begin)));
      },
      1, 3);
  return 2e-9 * static_cast<double>(bytes) / timing.fastest;
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
