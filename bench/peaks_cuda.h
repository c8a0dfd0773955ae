// Kernels of multiply-adds that stay in registers: what peaks.h measures on CUDA.
#pragma once

namespace vg::bench::cuda {

/// Each launches its kernel on the stream and gives how many GFLOP it does.
double launch_fma(void* stream);
double launch_mma_bf16(void* stream);
double launch_mma_tf32(void* stream);

}  // namespace vg::bench::cuda
