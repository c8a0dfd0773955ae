// A draw for each element.
#pragma once

#include <cstdint>
#include "kernels/common/philox.h"

namespace exercise::dropout {

inline void channel_dropout(float* y, const float* x, int64_t n, int64_t voxels, int64_t channels,
                            float probability, uint64_t seed, uint64_t offset) {
  const float scale = 1 / (1 - probability);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t v = 0; v < voxels; ++v) {
      for (int64_t c = 0; c < channels; ++c) {
        const auto index = static_cast<uint64_t>((i * voxels + v) * channels + c);
        const bool dropped = vg::kernels::philox_uniform(seed, offset, index) < probability;
        const int64_t at = (i * voxels + v) * channels + c;
        y[at] = dropped ? 0 : scale * x[at];
      }
    }
  }
}

}  // namespace exercise::dropout
