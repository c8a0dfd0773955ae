// Many flat tensors walked as one list of chunks, so that one parallel loop or one launch covers them all,
// whatever their sizes.
#pragma once

#include <cstdint>

#include "kernels/common/view.h"

namespace vg::kernels {

VG_INLINE int64_t chunks_of(int64_t count, int64_t chunk_elements) {
  return (count + chunk_elements - 1) / chunk_elements;
}

/// first_chunk[i] = number of chunks before tensor i, for i in [0, tensor_count]; the last entry is their
/// number. `Tensor` has a member `count`.
template <class Tensor>
VG_INLINE void index_chunks(int64_t* first_chunk, const Tensor* tensors, int64_t tensor_count,
                            int64_t chunk_elements) {
  int64_t chunks = 0;
  for (int64_t i = 0; i < tensor_count; ++i) {
    first_chunk[i] = chunks;
    chunks += chunks_of(tensors[i].count, chunk_elements);
  }
  first_chunk[tensor_count] = chunks;
}

/// The tensor that holds chunk `chunk`: the last i with first_chunk[i] <= chunk (tensors without elements
/// have no chunk). Bisection: about seven steps for this project's networks.
VG_INLINE int64_t tensor_of_chunk(const int64_t* first_chunk, int64_t tensor_count, int64_t chunk) {
  int64_t low = 0, high = tensor_count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (first_chunk[middle] <= chunk) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace vg::kernels
