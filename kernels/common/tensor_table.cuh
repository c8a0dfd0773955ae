// Launches over many tensors. The table of tensors travels as a kernel parameter: no upload, no
// synchronisation, and a captured graph keeps its own copy.
#pragma once

#include <algorithm>

#include "kernels/common/launch.cuh"
#include "kernels/common/tensor_chunks.h"

namespace vg::kernels::cuda {

/// Tensors of one launch. CUDA allows 32,764 bytes of kernel parameters on compute capability 7.0 and later
/// (toolkit 12.1 and later); 512 tensors of 40 bytes with their chunks take 24.6 KB, and the 3D Attention
/// U-Net has 118.
inline constexpr int table_capacity = 512;

template <class Tensor>
struct TensorTable {
  Tensor tensors[table_capacity];
  int64_t first_chunk[table_capacity + 1];
  int64_t tensor_count;
};

/// Elements of a chunk: the work of one block, 16 elements a thread.
inline constexpr int64_t chunk_elements = 16 * block_threads;

/// The part of a tensor that a block works on.
struct ChunkRange {
  int64_t tensor, begin, end;
};

/// The chunk of this block (blockIdx.x). `table` must be a __grid_constant__ parameter: a copy of it would
/// live in local memory.
template <class Tensor>
__device__ inline ChunkRange chunk_of_block(const TensorTable<Tensor>& table) {
  const int64_t tensor = tensor_of_chunk(table.first_chunk, table.tensor_count, blockIdx.x);
  const int64_t begin = (blockIdx.x - table.first_chunk[tensor]) * chunk_elements;
  const int64_t count = table.tensors[tensor].count;
  return {tensor, begin, begin + chunk_elements < count ? begin + chunk_elements : count};
}

/// Calls launch(table, chunks, chunks of the tables before) for each table; one table holds all tensors
/// unless there are more than `table_capacity`. Tables without chunks are left out.
template <class Tensor, class Launch>
inline void for_each_table(const Tensor* tensors, int64_t tensor_count, const Launch& launch) {
  TensorTable<Tensor> table;
  int64_t chunks_before = 0;
  for (int64_t first = 0; first < tensor_count; first += table_capacity) {
    table.tensor_count = std::min<int64_t>(table_capacity, tensor_count - first);
    std::copy_n(tensors + first, table.tensor_count, table.tensors);
    index_chunks(table.first_chunk, table.tensors, table.tensor_count, chunk_elements);
    const int64_t chunks = table.first_chunk[table.tensor_count];
    if (chunks == 0) continue;
    launch(table, chunks, chunks_before);
    chunks_before += chunks;
  }
}

}  // namespace vg::kernels::cuda
