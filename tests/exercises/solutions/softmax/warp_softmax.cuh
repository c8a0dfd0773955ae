#pragma once

#include <cuda_runtime.h>

namespace exercise::softmax {

constexpr int warps_a_block = 4;

__global__ void warp_softmax_kernel(float* y, const float* x, int voxels, int channels) {
  const int voxel = static_cast<int>(blockIdx.x) * warps_a_block + static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (voxel >= voxels) return;  // the whole warp or none of it: shuffles below see all 32 lanes
  const float* const in = x + static_cast<long long>(voxel) * channels;
  float* const out = y + static_cast<long long>(voxel) * channels;
  float largest = -INFINITY;
  for (int c = lane; c < channels; c += 32) largest = fmaxf(largest, in[c]);
  for (int d = 16; d > 0; d /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, d));
  float sum = 0;
  for (int c = lane; c < channels; c += 32) sum += expf(in[c] - largest);
  for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffff, sum, d);
  for (int c = lane; c < channels; c += 32) out[c] = expf(in[c] - largest) / sum;
}

inline void warp_softmax(float* y, const float* x, int voxels, int channels) {
  const int blocks = (voxels + warps_a_block - 1) / warps_a_block;
  warp_softmax_kernel<<<static_cast<unsigned>(blocks), warps_a_block * 32>>>(y, x, voxels, channels);
}

inline const void* warp_softmax_kernel_pointer() {
  return reinterpret_cast<const void*>(&warp_softmax_kernel);
}

}  // namespace exercise::softmax
