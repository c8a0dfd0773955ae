// Loads and stores of 8 and 16 bytes that the compiler neither splits nor merges. Addresses are aligned to
// the size.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace vg::kernels::ptx {

/// The address of shared memory that the functions of this folder take. PTX ISA, "cvta".
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// PTX ISA, "ld" from the state space .shared.
__device__ __forceinline__ void load_shared_16(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ void load_shared_8(uint32_t (&r)[2], uint32_t address) {
  asm volatile("ld.shared.v2.b32 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(address) : "memory");
}
/// PTX ISA, "st" to the state space .shared.
__device__ __forceinline__ void store_shared_16(uint32_t address, uint32_t r0, uint32_t r1, uint32_t r2,
                                                uint32_t r3) {
  asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(r0), "r"(r1), "r"(r2), "r"(r3)
               : "memory");
}
__device__ __forceinline__ float load_shared_float(uint32_t address) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
  return value;
}

/// From memory that nobody writes during the kernel, through the first-level cache. PTX ISA, "ld.global.nc".
__device__ __forceinline__ void load_constant_16(uint32_t (&r)[4], const void* pointer) {
  asm volatile("ld.global.nc.v4.b32 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "l"(pointer));
}

__device__ __forceinline__ void load_constant_8(uint32_t (&r)[2], const void* pointer) {
  asm volatile("ld.global.nc.v2.b32 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "l"(pointer));
}

/// From memory that the kernel may also write, but only after this thread has read it. PTX ISA, "ld" from the
/// state space .global.
__device__ __forceinline__ void load_global_8(uint32_t (&r)[2], const void* pointer) {
  asm volatile("ld.global.v2.b32 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "l"(pointer));
}
__device__ __forceinline__ void load_global_16(uint32_t (&r)[4], const void* pointer) {
  asm volatile("ld.global.v4.b32 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "l"(pointer));
}

/// PTX ISA, "st" to the state space .global.
__device__ __forceinline__ void store_global_8(void* pointer, uint32_t r0, uint32_t r1) {
  asm volatile("st.global.v2.b32 [%0], {%1,%2};" ::"l"(pointer), "r"(r0), "r"(r1) : "memory");
}
__device__ __forceinline__ void store_global_16(void* pointer, uint32_t r0, uint32_t r1, uint32_t r2,
                                                uint32_t r3) {
  asm volatile("st.global.v4.b32 [%0], {%1,%2,%3,%4};" ::"l"(pointer), "r"(r0), "r"(r1), "r"(r2), "r"(r3)
               : "memory");
}

}  // namespace vg::kernels::ptx
