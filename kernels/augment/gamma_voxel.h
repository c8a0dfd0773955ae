#pragma once

#include "kernels/augment/voxel_math.h"

namespace vg::kernels::voxel {

struct Gamma {
  float gamma;

  struct Row {
    float gamma;
    template <class V>
    VG_INLINE V operator()(V x, V) const {
      const V magnitude = x < 0.0f ? -x : x, power = exp(gamma * log(magnitude));
      return x < 0.0f ? -power : (x == 0.0f ? x : power);
    }
  };
  VG_INLINE Row row(int64_t, int64_t, int64_t) const { return {gamma}; }
};

}  // namespace vg::kernels::voxel
