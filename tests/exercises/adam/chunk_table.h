// Exercise: many tensors in one launch. Page: kernels/adam/README.md, "Index map".
#pragma once

#include <cstdint>
#include <vector>

#include "exercises/support/not_solved.h"

namespace exercise::adam {

/// Part of a tensor that one block updates.
struct Chunk {
  int tensor;
  int64_t begin, end;  ///< elements
};

/// Tensors are cut into chunks of `chunk_size` elements, the last of each may be shorter, and numbered
/// through. first_chunk[i] is the number of chunks before tensor i; one more entry holds the number of all.
inline std::vector<int64_t> make_first_chunk(const std::vector<int64_t>& counts, int64_t chunk_size) {
  not_solved();
}

/// Chunk `number`, found as a block of the launch finds its own: from the table, not by a walk over all
/// tensors. A network has a hundred tensors and more: at most ten looks at the table for 118 of them.
/// `table.at(i)` is first_chunk[i], and counts. Tensors without elements have no chunk.
template <class Table>
Chunk find_chunk(int64_t number, Table& table, const std::vector<int64_t>& counts, int64_t chunk_size) {
  not_solved();
}

}  // namespace exercise::adam
