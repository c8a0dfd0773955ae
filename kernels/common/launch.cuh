// Launching CUDA kernels: grid sizes for loops over many elements, and the check of every launch.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <source_location>

#include "kernels/common/cuda_check.h"
#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels::cuda {

inline cudaStream_t stream_of(const Exec& exec) {
  return static_cast<cudaStream_t>(exec.stream);
}

/// Throws CudaError if the launch just made was refused.
inline void check_launch(std::source_location where = std::source_location::current()) {
  check_cuda(cudaGetLastError(), where);
}

/// Threads a block for memory-bound kernels: eight warps hide latency and leave every architecture at full
/// occupancy.
inline constexpr int block_threads = 256;

/// Blocks for one thread an item. Items ride grid.x, whose limit (2^31 - 1) no tensor in memory reaches at
/// 256 threads a block.
inline unsigned blocks_for(int64_t items, int threads = block_threads) {
  return static_cast<unsigned>(std::max<int64_t>(1, (items + threads - 1) / threads));
}

/// The index of this thread in a one-dimensional grid.
__device__ inline int64_t thread_index() {
  return int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

/// Element `index` (in [N,D,H,W,C] order) of a view.
template <class T>
__device__ inline T* element(const View<T>& view, int64_t index) {
  const int64_t voxel = index / view.c;
  return view.row(voxel / view.w) + voxel % view.w * view.stride_w + index % view.c;
}

/// Voxel `index` (in [N,D,H,W] order) of a view: its first channel.
template <class T>
__device__ inline T* voxel(const View<T>& view, int64_t index) {
  return view.row(index / view.w) + index % view.w * view.stride_w;
}

}  // namespace vg::kernels::cuda
