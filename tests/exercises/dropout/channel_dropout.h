// Exercise: another index, another mask. Page: kernels/dropout/README.md.
#pragma once

#include <cstdint>
#include "kernels/common/philox.h"

#include "exercises/support/not_solved.h"

namespace exercise::dropout {

/// Dropout of whole channels (PyTorch's Dropout3d): x and y are dense [n, voxels, channels]; a channel of a
/// sample is kept, times 1 / (1 - probability), or zero as a whole, by one draw for each (sample, channel):
/// vg::kernels::philox_uniform(seed, offset, index) with index = sample * channels + channel drops it if it
/// is below `probability`. Overwrites y. The mask does not depend on `voxels`, and nothing is stored for
/// backward, which is the same call on dy.
inline void channel_dropout(float* y, const float* x, int64_t n, int64_t voxels, int64_t channels,
                            float probability, uint64_t seed, uint64_t offset) {
  not_solved();
}

}  // namespace exercise::dropout
