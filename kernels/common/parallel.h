// Parallel loops over a CPU's threads. Results never depend on the number of threads: work is cut into pieces
// by the problem alone, and partial results are combined in the order of the pieces.
#pragma once

#include <omp.h>

#include <cstdint>

#include "kernels/common/view.h"

namespace vg::kernels::cpu {

/// Calls body(i) for i in [0, count), in any order, on all threads. Pieces are handed out dynamically: a busy
/// neighbour on one core then costs little. `grain` consecutive indices go to one thread at a time.
template <class Body>
inline void parallel_for(int64_t count, int64_t grain, const Body& body) {
#pragma omp parallel for schedule(dynamic, grain) if (count > grain)
  for (int64_t i = 0; i < count; ++i) body(i);
}

/// The number of threads that a parallel_for may use, and which of them is calling: an index for scratch
/// memory that outlives the call of a body, for speed alone.
VG_INLINE int64_t thread_count() {
  return omp_get_max_threads();
}
VG_INLINE int64_t thread_index() {
  return omp_get_thread_num();
}

/// The number of pieces into which a reduction over `count` items is cut: a function of the problem, never of
/// the threads.
VG_INLINE int64_t reduction_pieces(int64_t count, int64_t smallest_piece, int64_t most_pieces = 64) {
  const int64_t pieces = (count + smallest_piece - 1) / smallest_piece;
  return pieces < 1 ? 1 : (pieces > most_pieces ? most_pieces : pieces);
}

/// First item of piece `piece` of `pieces`; the end is piece_begin(count, pieces, piece + 1).
VG_INLINE int64_t piece_begin(int64_t count, int64_t pieces, int64_t piece) {
  return count * piece / pieces;
}

}  // namespace vg::kernels::cpu
