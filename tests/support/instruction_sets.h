// Runs a CPU test under every instruction set of this processor and several thread counts.
#pragma once

#include <omp.h>

#include <gtest/gtest.h>

#include "kernels/common/memory.h"
#include "kernels/common/simd.h"
#include "kernels/common/stream.h"
#include "kernels/conv3d/conv3d_method.h"

namespace vg::test {

/// Sets instruction set, convolution method, threshold of streaming and thread count back at the end of a
/// test.
class CpuSettings {
 public:
  CpuSettings()
      : isa_(kernels::cpu::active_isa()),
        method_(kernels::cpu::active_convolution_method()),
        streaming_threshold_(kernels::cpu::streaming_threshold()),
        threads_(omp_get_max_threads()) {}
  ~CpuSettings() {
    kernels::cpu::force_isa(isa_);
    kernels::cpu::force_convolution_method(method_);
    kernels::cpu::set_streaming_threshold(streaming_threshold_);
    omp_set_num_threads(threads_);
  }
  CpuSettings(const CpuSettings&) = delete;
  CpuSettings& operator=(const CpuSettings&) = delete;

 private:
  kernels::cpu::Isa isa_;
  kernels::cpu::ConvolutionMethod method_;
  int64_t streaming_threshold_;
  int threads_;
};

/// Calls body() under each instruction set of this processor, and with AVX-512 once more with results that
/// are streamed whatever their size; once if the device is not the CPU.
template <class Body>
void for_each_instruction_set(kernels::DeviceKind device, const Body& body) {
  using kernels::cpu::Isa;
  if (device != kernels::DeviceKind::cpu) return body();
  const CpuSettings restore;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (!kernels::cpu::isa_supported(isa)) continue;
    SCOPED_TRACE(isa_name(isa));
    kernels::cpu::force_isa(isa);
    body();
    if (isa != Isa::avx512) continue;
    SCOPED_TRACE("streamed");
    kernels::cpu::set_streaming_threshold(0);
    body();
  }
}

/// `run()` computes something on the CPU and returns it (a type with ==). It is called under each instruction
/// set with 1, 2, 3 and 8 threads; the results of one instruction set must be the same bits (compare floats
/// as such: NaN fails).
template <class Run>
void expect_thread_independent(const Run& run) {
  using kernels::cpu::Isa;
  const CpuSettings restore;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (!kernels::cpu::isa_supported(isa)) continue;
    kernels::cpu::force_isa(isa);
    omp_set_num_threads(1);
    const auto expected = run();
    for (const int threads : {2, 3, 8}) {
      omp_set_num_threads(threads);
      EXPECT_TRUE(run() == expected) << isa_name(isa) << " differs with " << threads << " threads";
    }
  }
}

}  // namespace vg::test
