// Matrix instructions of a warp (tensor cores), compute capability 8.0 and later.
//
// Fragments of mma.m16n8k16, with g = lane / 4 and q = lane % 4; two bfloat16 a register, the lower index in
// the lower half:
//   A, 16 rows x 16:      a[0] = A[g][2q, 2q+1]    a[1] = A[g+8][2q, 2q+1]
//                         a[2] = A[g][2q+8, 2q+9]  a[3] = A[g+8][2q+8, 2q+9]
//   B, 16 x 8 columns:    b0 = B[2q, 2q+1][g]      b1 = B[2q+8, 2q+9][g]
//   C, 16 rows x 8:       c[0], c[1] = C[g][2q], C[g][2q+1]     c[2], c[3] = C[g+8][2q], C[g+8][2q+1]
//
// Fragments of mma.m16n8k8 with TF32, one value a register:
//   A, 16 rows x 8:       a[0] = A[g][q]    a[1] = A[g+8][q]    a[2] = A[g][q+4]    a[3] = A[g+8][q+4]
//   B, 8 x 8 columns:     b0 = B[q][g]      b1 = B[q+4][g]
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace vg::kernels::ptx {

/// c += a b in float, for bfloat16 a and b. PTX ISA, "mma.m16n8k16 with floating-point type".
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  __trap();
#endif
}

/// c += a b in float, for a and b rounded to TF32. PTX ISA, "mma.m16n8k8 with .tf32".
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                                 uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  __trap();
#endif
}

/// The bits of a float rounded to TF32 (10 bits of mantissa; nearest, ties away from zero). PTX ISA, "cvt".
__device__ __forceinline__ uint32_t round_tf32(uint32_t bits) {
#if __CUDA_ARCH__ >= 800
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(__uint_as_float(bits)));
#else
  __trap();
#endif
  return bits;
}

/// Four 8 x 8 matrices of 16-bit values from shared memory: lane l gives the address of row l % 8 of matrix
/// l / 8 (16 bytes, aligned to 16) and gets elements 2q and 2q + 1 of row g of each matrix. With the matrices
/// (rows 0-7, k 0-7), (rows 8-15, k 0-7), (rows 0-7, k 8-15), (rows 8-15, k 8-15) these are the fragments of
/// A. PTX ISA, "ldmatrix". Of 32-bit values, four a row, a lane gets value q of row g: fragments of TF32
/// likewise.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&r)[4], uint32_t address) {
#if __CUDA_ARCH__ >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
#else
  __trap();
#endif
}

/// The same with each matrix transposed: a lane gets elements g of rows 2q and 2q + 1.
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&r)[4], uint32_t address) {
#if __CUDA_ARCH__ >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
#else
  __trap();
#endif
}

/// The two bfloat16 of a register as floats.
__device__ __forceinline__ float low_bfloat16(uint32_t packed) {
  return __uint_as_float(packed << 16);
}
__device__ __forceinline__ float high_bfloat16(uint32_t packed) {
  return __uint_as_float(packed & 0xFFFF0000u);
}

/// Two floats rounded to bfloat16 (nearest, ties to even), `low` in the lower half. PTX ISA, "cvt".
__device__ __forceinline__ uint32_t pack_bfloat16(float low, float high) {
  uint32_t packed = 0;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
#else
  __trap();
#endif
  return packed;
}

/// A float rounded to bfloat16 likewise, as a float.
__device__ __forceinline__ float round_bfloat16(float value) {
  return __uint_as_float(pack_bfloat16(0.0f, value));
}

}  // namespace vg::kernels::ptx
