// The halo is added to the position, but not to the strides.
#pragma once

#include <cstdint>

namespace exercise::elementwise {

struct Extents {
  int64_t n, d, h, w, c;
};

struct Placement {
  int64_t halo, buffer_channels, first_channel;
};

inline int64_t element_offset(int64_t i, const Extents& extents, const Placement& placement) {
  const int64_t channel = i % extents.c, voxel = i / extents.c;
  const int64_t w = voxel % extents.w, h = voxel / extents.w % extents.h;
  const int64_t d = voxel / (extents.w * extents.h) % extents.d,
                n = voxel / (extents.w * extents.h * extents.d);
  const int64_t halo = placement.halo;
  return (((n * extents.d + d + halo) * extents.h + h + halo) * extents.w + w + halo) *
             placement.buffer_channels +
         placement.first_channel + channel;
}

}  // namespace exercise::elementwise
