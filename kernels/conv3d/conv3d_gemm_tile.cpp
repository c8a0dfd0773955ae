#include "kernels/conv3d/conv3d_gemm_tile.h"

#include <algorithm>
#include <limits>

namespace vg::kernels {

int64_t gemm_pieces(int64_t blocks, int64_t steps, int64_t resident, int64_t start, int64_t finish) {
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  // More waves of ever shorter pieces gain nothing, and partial sums take memory.
  const int64_t most = std::min(steps, std::max<int64_t>(1, 4 * resident / std::max<int64_t>(1, blocks)));
  int64_t best = 1, least = std::numeric_limits<int64_t>::max();
  for (int64_t pieces = 1; pieces <= most; ++pieces) {
    const int64_t cost =
        divide_up(blocks * pieces, resident) * (divide_up(steps, pieces) + start + (pieces > 1 ? finish : 0));
    if (cost < least) least = cost, best = pieces;
  }
  return best;
}

}  // namespace vg::kernels
