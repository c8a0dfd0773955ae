// Softmax of a tile of voxels in registers, also used by the losses. For *_cpu.cpp.
#pragma once

#include "kernels/common/simd_math.h"
#include "kernels/common/voxel_tile.h"

namespace vg::kernels::cpu::VG_ISA {

/// Maximum and sum of exp(x - maximum) over the channels of each voxel.
struct SoftmaxStatistics {
  Vec maximum, sum;
};

/// x[c] = exp(x[c] - maximum).
template <int Channels>
VG_INLINE SoftmaxStatistics exponentials(Vec* x, int64_t channels) {
  const int64_t count = Channels > 0 ? Channels : channels;
  Vec maximum = x[0], sum{};
#pragma GCC unroll 4
  for (int64_t c = 1; c < count; ++c) maximum = max(maximum, x[c]);
#pragma GCC unroll 4
  for (int64_t c = 0; c < count; ++c) {
    x[c] = exp(x[c] - maximum);
    sum += x[c];
  }
  return {maximum, sum};
}

/// x[c] = exp(x[c] - maximum) / sum.
template <int Channels>
VG_INLINE void softmax_tile(Vec* x, int64_t channels) {
  const Vec factor = broadcast(1.0f) / exponentials<Channels>(x, channels).sum;
#pragma GCC unroll 4
  for (int64_t c = 0; c < (Channels > 0 ? Channels : channels); ++c) x[c] *= factor;
}

/// g[c] = y[c] * (g[c] - sum over channels of g * y): from the gradient of the probabilities y to that of the
/// logits.
template <int Channels>
VG_INLINE void softmax_gradient_tile(Vec* g, const Vec* y, int64_t channels) {
  const int64_t count = Channels > 0 ? Channels : channels;
  Vec dot{};
#pragma GCC unroll 4
  for (int64_t c = 0; c < count; ++c) dot += g[c] * y[c];
#pragma GCC unroll 4
  for (int64_t c = 0; c < count; ++c) g[c] = y[c] * (g[c] - dot);
}

}  // namespace vg::kernels::cpu::VG_ISA
