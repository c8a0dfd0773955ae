#include "bench/ladder/conv3d/rungs.h"

#include "bench/ladder/rung.h"
#include "kernels/conv3d/conv3d.h"

namespace vg::ladder {

namespace {

template <class T>
void product(View<T> y, View<const T> x, const float* weight, const Exec& exec) {
  kernels::conv3d_forward(y, x, weight, nullptr, {x.c, y.c, 3, 1, 1}, exec);
}

// A rung of the CPU, in the version for the instruction set that runs.
#define VG_CPU_RUNG(function)                                                                      \
  [](View<float> y, View<const float> x, const float* weight, const Exec& exec) {                  \
    kernels::require(x.halo >= 1, #function ": expected an input with a halo of zeros, got none"); \
    VG_CALL_CPU(function, y, x, weight, exec);                                                     \
  }

constexpr const char* product_file = "kernels/conv3d/";

}  // namespace

std::vector<Rung> conv3d_rungs() {
  constexpr auto cpu_device = DeviceKind::cpu;
  std::vector<Rung> rungs = {
      {"cpu1", "naive", "seven loops, one sum at a time", "cpu1_naive.cpp", cpu_device, VG_CPU_RUNG(naive),
       nullptr, 1, 0},
      {"cpu2", "channels last", "a vector of output channels; a halo of zeros in place of ifs",
       "cpu2_channels_last.cpp", cpu_device, VG_CPU_RUNG(channels_last), nullptr, 16, 0},
      {"cpu3", "register tile", "many sums side by side: latency is hidden, weights are loaded once for all",
       "cpu3_register_tile.cpp", cpu_device, VG_CPU_RUNG(register_tile), nullptr, 16, 0},
      {"cpu4", "sliding window", "an input is broadcast once for the three taps along W that it meets",
       "cpu4_sliding_window.cpp", cpu_device, VG_CPU_RUNG(sliding_window), nullptr, 16, 0},
      {"cpu5", "Winograd", "fewer products: 12 an output in place of 27", "cpu5_winograd.cpp", cpu_device,
       VG_CPU_RUNG(winograd), nullptr, 16, 0},
      {"cpu6", "product", "Winograd with larger tiles: 6.75 products an output", product_file, cpu_device,
       product<float>, nullptr, 1, 0},
  };
#ifdef VOXGRAD_WITH_CUDA
  constexpr auto cuda_device = DeviceKind::cuda;
  const std::vector<Rung> on_cuda = {
      {"cuda1", "naive", "a thread an output", "cuda1_naive.cu", cuda_device, cuda::naive, nullptr, 1, 0},
      {"cuda2", "coalesced", "output channels across lanes: neighbours read neighbours", "cuda2_coalesced.cu",
       cuda_device, cuda::coalesced, nullptr, 1, 0},
      {"cuda3", "shared tile", "a tile of inputs and weights in shared memory serves 16 threads each",
       "cuda3_shared_tile.cu", cuda_device, cuda::shared_tile, nullptr, 16, 0},
      {"cuda4", "register tile", "32 sums a thread: a value from shared memory serves 4 or 8 of them",
       "cuda4_register_tile.cu", cuda_device, cuda::register_tile, nullptr, 16, 0},
      {"cuda5", "halo tile", "the input with its halo is copied once for all 27 taps", "cuda5_halo_tile.cu",
       cuda_device, cuda::halo_tile, nullptr, 16, 0},
      {"cuda6", "pipelined copies", "a march along D: the next plane arrives while this one is multiplied",
       "cuda6_pipelined.cu", cuda_device, cuda::pipelined, nullptr, 16, 16},
      {"cuda7", "tensor cores", "16 x 8 x 16 products an instruction, bfloat16 operands",
       "cuda7_tensor_cores.cu", cuda_device, nullptr, cuda::tensor_cores, 16, 0},
      {"cuda8", "reuse over kh, swizzle", "a fragment feeds three rows of outputs; no bank conflicts",
       "cuda8_row_reuse.cu", cuda_device, nullptr, cuda::row_reuse, 16, 16},
      {"cuda9", "product", "the same with tiles for each width, norm and statistics", product_file,
       cuda_device, nullptr, product<bfloat16>, 1, 0},
  };
  rungs.insert(rungs.end(), on_cuda.begin(), on_cuda.end());
#endif
  return rungs;
}

}  // namespace vg::ladder
