// Barriers that __syncthreads() is not.
#pragma once

#include <cuda_runtime.h>

namespace vg::kernels::ptx {

/// Waits until so many threads, whole warps, have come to this barrier, wherever in the code each warp does:
/// __syncthreads() for blocks whose warps take different branches. Number 0 is that of __syncthreads(). PTX
/// ISA, "bar.sync".
template <int Threads>
__device__ __forceinline__ void barrier_of_branches() {
  static_assert(Threads % 32 == 0);
  asm volatile("bar.sync 1, %0;" ::"n"(Threads) : "memory");
}

}  // namespace vg::kernels::ptx
