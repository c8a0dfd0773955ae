#pragma once

#include "kernels/augment/voxel_math.h"

namespace vg::kernels::voxel {

// One plane wave: x + amplitude * cos(2 pi (phase + sum over the axes of frequency * index / extent)).
// Products of frequency and index are reduced modulo the extent as whole numbers, so that the phase is as
// accurate at the far end of a volume as at its beginning.
struct Spike {
  float amplitude;
  double phase;  // in turns
  int64_t frequency[3], extent[3];

  struct Row {
    float amplitude, phase, frequency, extent, inverse;
    template <class V>
    VG_INLINE V operator()(V x, V w) const {
      const V product = w * frequency;  // exact below 2^24, which an extent of 5792 reaches
      const V turns = (product - round(product * inverse) * extent) * inverse;
      return x + amplitude * cos_turns(turns + phase);
    }
  };
  VG_INLINE Row row(int64_t, int64_t d, int64_t h) const {
    const double turns = phase +
                         static_cast<double>(frequency[0] * d % extent[0]) / static_cast<double>(extent[0]) +
                         static_cast<double>(frequency[1] * h % extent[1]) / static_cast<double>(extent[1]);
    return {amplitude, static_cast<float>(turns), static_cast<float>(frequency[2]),
            static_cast<float>(extent[2]), 1 / static_cast<float>(extent[2])};
  }
};

}  // namespace vg::kernels::voxel
