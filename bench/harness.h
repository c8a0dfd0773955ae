// Measuring: repeated runs after a warm-up, the median with its spread, and the machine's own peak beside it.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace vg::bench {

struct Timing {
  double median = 0, fastest = 0, slowest = 0;  ///< seconds
};

/// Runs `body` `warmup` times untimed, then `runs` times timed.
Timing measure(const std::function<void()>& body, int warmup, int runs);

/// FMA throughput of all threads in GFLOP/s (2 per lane), measured now with the widest vectors this processor
/// has: what other work on the machine leaves over shows here.
double fma_peak_gflops();

/// Largest resident set of this process so far, in bytes.
size_t peak_resident_bytes();

}  // namespace vg::bench
