// What the device can do at most, measured just before a race: how far a kernel is from it, and how noisy the
// machine is.
#pragma once

#include "bench/options.h"

namespace vg::bench {

struct Peaks {
  double gflops = 0;    ///< of multiply-adds (2 each) of the options' type
  double copy_gbs = 0;  ///< of a copy: bytes read plus bytes written
};

/// CPU: FMA of all threads with the widest vectors, and memcpy. CUDA: FMA for float32, mma.sync for tf32 and
/// bf16 (which wgmma of compute capability 9.0 and tcgen05 of 10.0 exceed), and cudaMemcpy within the device.
Peaks measure_peaks(const Options& options);

/// The first of them alone, which takes a few milliseconds on a CPU.
double compute_peak_gflops(const Options& options);

}  // namespace vg::bench
