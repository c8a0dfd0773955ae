// Philox 4x32-10, the counter-based random number generator of Salmon et al., "Parallel Random Numbers: As
// Easy as 1, 2, 3" (SC 2011); the same generator as cuRAND's and PyTorch's. Element i of a draw is a function
// of (seed, offset, i) alone, so the order of threads and the device do not matter.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/common/view.h"

namespace vg::kernels {

/// A block of the generator's words: a counter going in, four random words coming out. `Word` is uint32_t, or
/// a vector of such for several blocks at once.
template <class Word>
struct PhiloxBlock {
  Word x, y, z, w;
};
using Uint4 = PhiloxBlock<uint32_t>;

/// The two halves of a 64-bit product.
struct WideProduct {
  VG_INLINE void operator()(uint32_t a, uint32_t factor, uint32_t& high, uint32_t& low) const {
    const uint64_t product = uint64_t{factor} * a;
    high = static_cast<uint32_t>(product >> 32), low = static_cast<uint32_t>(product);
  }
};

/// Ten rounds on a 128-bit counter with a 64-bit key. `multiply` is a WideProduct for `Word`.
template <class Word, class Multiply>
VG_INLINE PhiloxBlock<Word> philox_rounds(PhiloxBlock<Word> c, uint64_t key, const Multiply& multiply) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    Word a_high, a_low, b_high, b_low;
    multiply(c.x, 0xD2511F53u, a_high, a_low);
    multiply(c.z, 0xCD9E8D57u, b_high, b_low);
    c = {b_high ^ c.y ^ k0, b_low, a_high ^ c.w ^ k1, a_low};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

VG_INLINE Uint4 philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  return philox_rounds(Uint4{static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
                             static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)},
                       key, WideProduct{});
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
