// An attention coefficient and what it does to a voxel: the same bits for all who gate as they read.
#pragma once

#include "kernels/common/ptx/matrix.cuh"

namespace vg::kernels::cuda {

/// With an approximate reciprocal, to two units in the last place: a division costs ten instructions more.
__device__ __forceinline__ float sigmoid(float z) {
  return __fdividef(1.0f, 1.0f + expf(-z));
}

/// Of a score, by psi's batch norm; factor is 1 / deviation.
__device__ __forceinline__ float gate_coefficient(float score, float mean, float factor, float gamma,
                                                  float beta) {
  return sigmoid(fmaf((score - mean) * factor, gamma, beta));
}

/// Two neighbouring channels times a coefficient, rounded.
__device__ __forceinline__ uint32_t scaled(uint32_t pair, float factor) {
  return ptx::pack_bfloat16(__uint_as_float(pair << 16) * factor,
                            __uint_as_float(pair & 0xFFFF0000u) * factor);
}

}  // namespace vg::kernels::cuda
