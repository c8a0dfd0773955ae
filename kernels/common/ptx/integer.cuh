// Integer instructions that the compiler does not choose by itself.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace vg::kernels::ptx {

/// a * b + c: one instruction, where the compiler, once it has widened a or b, multiplies 64 bits. PTX ISA,
/// "mad.wide".
__device__ __forceinline__ int64_t multiply_add_wide(int a, int b, int64_t c) {
  int64_t result;
  asm("mad.wide.s32 %0, %1, %2, %3;" : "=l"(result) : "r"(a), "r"(b), "l"(c));
  return result;
}

/// blockIdx.x, read again each time: the compiler keeps nothing in registers that follows from it. PTX ISA,
/// "%ctaid".
__device__ __forceinline__ int block_index() {
  int index;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(index));
  return index;
}
/// threadIdx.x likewise. PTX ISA, "%tid".
__device__ __forceinline__ int thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

}  // namespace vg::kernels::ptx
