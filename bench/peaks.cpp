#include "bench/peaks.h"

#include "bench/harness.h"
#include "bench/peaks_cuda.h"
#include "kernels/common/memory.h"

namespace vg::bench {

namespace {

#ifdef VOXGRAD_WITH_CUDA

double cuda_compute_peak(const Options& options) {
  void* stream = Context::get().exec(Device::cuda).stream;
  double gflop = 0;
  const Timing timing = measure_on(
      Device::cuda,
      [&](int) {
        gflop = options.dtype == "bf16"   ? cuda::launch_mma_bf16(stream)
                : options.dtype == "tf32" ? cuda::launch_mma_tf32(stream)
                                          : cuda::launch_fma(stream);
      },
      3, 5);
  return gflop / timing.fastest;
}

double cuda_copy_peak() {
  const size_t bytes = 8 * last_level_cache_bytes(Device::cuda);
  const Tensor from = Tensor::zeros({static_cast<int64_t>(bytes)}, DType::uint8, Device::cuda),
               to = Tensor::zeros({static_cast<int64_t>(bytes)}, DType::uint8, Device::cuda);
  const auto exec = Context::get().exec(Device::cuda);
  const Timing timing = measure_on(
      Device::cuda,
      [&](int) {
        kernels::copy_memory(to.data<uint8_t>(), Device::cuda, from.data<const uint8_t>(), Device::cuda,
                             bytes, exec.stream);
      },
      2, 5);
  return 2e-9 * static_cast<double>(bytes) / timing.fastest;
}

#endif

}  // namespace

double compute_peak_gflops([[maybe_unused]] const Options& options) {
#ifdef VOXGRAD_WITH_CUDA
  if (options.where() == Device::cuda) return cuda_compute_peak(options);
#endif
  return fma_peak_gflops();
}

Peaks measure_peaks(const Options& options) {
#ifdef VOXGRAD_WITH_CUDA
  if (options.where() == Device::cuda) return {cuda_compute_peak(options), cuda_copy_peak()};
#endif
  return {compute_peak_gflops(options), copy_peak_gbs()};
}

}  // namespace vg::bench
