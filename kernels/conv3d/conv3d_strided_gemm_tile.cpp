#include "kernels/conv3d/conv3d_strided_gemm_tile.h"

#include <algorithm>
#include <limits>

namespace vg::kernels {

int64_t strided_gemm_pieces(int64_t blocks, int64_t steps, int64_t partial_cost, int64_t multiprocessors) {
  const int64_t most = std::max<int64_t>(1, std::min(steps, multiprocessors / std::max<int64_t>(1, blocks)));
  int64_t best = 1, least = std::numeric_limits<int64_t>::max();
  for (int64_t pieces = 1; pieces <= most; ++pieces) {
    const int64_t partials = pieces > 1 ? blocks * pieces * partial_cost : 0,
                  cost = 64 * ((steps + pieces - 1) / pieces) + partials;
    if (cost < least) least = cost, best = pieces;
  }
  return best;
}

}  // namespace vg::kernels
