#pragma once

#include "kernels/augment/voxel_math.h"

namespace vg::kernels::voxel {

// The numbers of kernels::NormalDraw{seed, 0}. Each voxel computes a block of the generator for itself and
// takes one of its four numbers: vectors have no use for neighbours that share one.
struct Noise {
  float mean, deviation;
  uint64_t seed;
  int64_t depth, height, width;

  struct Row {
    float mean, deviation;
    uint64_t seed;
    uint32_t block_low, block_high, phase;  // the row begins with number `phase` of the block

    template <class V>
    VG_INLINE V operator()(V x, V w) const {
      const auto number = to_uint(w) + phase, zero = number ^ number;
      const auto low = (number >> 2) + block_low;
      const auto carry = low < block_low ? zero + 1u : zero;
      const auto four = philox({low, carry + block_high, zero, zero}, seed);
      const auto which = number & 3u;
      // Two pairs of uniform numbers, each giving a cosine and a sine (Box and Muller 1958).
      const auto first = which < 2u ? four.x : four.z, second = which < 2u ? four.y : four.w;
      const V radius = square_root(log(1.0f - to_float(first >> 8) * 0x1p-24f) * -2.0f);
      const V turns = to_float(second >> 8) * 0x1p-24f - to_float(which & 1u) * 0.25f;
      return x + (radius * cos_turns(turns) * deviation + mean);
    }
  };
  VG_INLINE Row row(int64_t n, int64_t d, int64_t h) const {
    const auto first = static_cast<uint64_t>(((n * depth + d) * height + h) * width), block = first / 4;
    return {mean,
            deviation,
            seed,
            static_cast<uint32_t>(block),
            static_cast<uint32_t>(block >> 32),
            static_cast<uint32_t>(first % 4)};
  }
};

}  // namespace vg::kernels::voxel
