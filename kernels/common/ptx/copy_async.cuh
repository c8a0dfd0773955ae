// Copies from global to shared memory that go on while the thread computes, compute capability 8.0 and later.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace vg::kernels::ptx {

/// Starts a copy of 16 bytes, both addresses aligned to 16, past the first-level cache. If not `inside`,
/// 16 zero bytes are written and nothing is read: `source` need not lie in an allocation then. PTX ISA,
/// "cp.async" with src-size.
__device__ __forceinline__ void copy_16_async(uint32_t shared, const void* source, bool inside) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(source),
               "r"(inside ? 16 : 0)
               : "memory");
#else
  __trap();
#endif
}

/// The same of what is known to lie inside.
__device__ __forceinline__ void copy_16_async(uint32_t shared, const void* source) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(source) : "memory");
#else
  __trap();
#endif
}

/// The same for 4 bytes aligned to 4, through the first-level cache.
__device__ __forceinline__ void copy_4_async(uint32_t shared, const void* source, bool inside) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(source), "r"(inside ? 4 : 0)
               : "memory");
#else
  __trap();
#endif
}

/// Closes the group of this thread's copies since the last call. PTX ISA, "cp.async.commit_group".
__device__ __forceinline__ void commit_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  __trap();
#endif
}

/// Waits until at most `Pending` of this thread's groups, the youngest, are unfinished. Other threads see the
/// data after a barrier. PTX ISA, "cp.async.wait_group".
template <int Pending>
__device__ __forceinline__ void wait_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#else
  __trap();
#endif
}

}  // namespace vg::kernels::ptx
