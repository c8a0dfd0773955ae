// Philox 4x32-10, the counter-based random number generator of Salmon et al., "Parallel Random Numbers: As
// Easy as 1, 2, 3" (SC 2011); the same generator as cuRAND's and PyTorch's. Element i of a draw is a function
// of (seed, offset, i) alone, so the order of threads and the device do not matter.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/common/view.h"

namespace vg::kernels {

struct Uint4 {
  uint32_t x, y, z, w;
};

/// Ten rounds on a 128-bit counter with a 64-bit key.
VG_INLINE Uint4 philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  Uint4 c{static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
          static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * c.x, b = uint64_t{0xCD9E8D57u} * c.z;
    c = {static_cast<uint32_t>(b >> 32) ^ c.y ^ k0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c.w ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

/// Uniform in [0, 1): the upper 24 bits, exact in a float.
VG_INLINE float uniform_from_bits(uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24f;
}

/// Element `index` of the uniform draw (seed, offset): four elements share a counter.
VG_INLINE float philox_uniform(uint64_t seed, uint64_t offset, uint64_t index) {
  const Uint4 r = philox(seed, index / 4, offset);
  const uint32_t lane = static_cast<uint32_t>(index % 4);
  return uniform_from_bits(lane == 0 ? r.x : lane == 1 ? r.y : lane == 2 ? r.z : r.w);
}

}  // namespace vg::kernels
