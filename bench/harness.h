// Measuring: repeated runs after a warm-up, the median with its spread, and the machine's own peak beside it.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "engine/context.h"

namespace vg::bench {

struct Timing {
  double median = 0, fastest = 0, slowest = 0;  ///< seconds
};

/// Runs `body` `warmup` times untimed, then `runs` times timed.
Timing measure(const std::function<void()>& body, int warmup, int runs);
/// The same for work that `body(i)`, i = 0, 1, 2 ... (over the warm-up too), gives to a device: on CUDA by
/// events around each run on the context's stream, on the CPU by the clock.
Timing measure_on(Device device, const std::function<void(int)>& body, int warmup, int runs);

/// The same by the CPU time of the process.
Timing measure_cpu_time(const std::function<void(int)>& body, int warmup, int runs);

/// Sets of operands of `bytes` each that runs must go through so that none finds its own in a cache: of
/// twice the device's last level altogether, at most 128.
int rotated_sets(Device device, size_t bytes);
/// The CPU's last level of cache, or the GPU's second: bytes.
size_t last_level_cache_bytes(Device device);

/// FMA throughput of all threads in GFLOP/s (2 per lane), measured now with the widest vectors this processor
/// has: what other work on the machine leaves over shows here.
double fma_peak_gflops();

/// Throughput of a copy of 8 x last_level_cache_bytes(Device::cpu), by all threads, in GB/s: bytes read plus
/// bytes written.
double copy_peak_gbs();

/// Largest resident set of this process so far, in bytes.
size_t peak_resident_bytes();

}  // namespace vg::bench
