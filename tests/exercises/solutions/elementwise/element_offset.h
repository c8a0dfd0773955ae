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
  const int64_t channel = i % extents.c;
  i /= extents.c;
  const int64_t w = i % extents.w;
  i /= extents.w;
  const int64_t h = i % extents.h;
  i /= extents.h;
  const int64_t d = i % extents.d, n = i / extents.d;

  const int64_t stride_w = placement.buffer_channels;
  const int64_t stride_h = stride_w * (extents.w + 2 * placement.halo);
  const int64_t stride_d = stride_h * (extents.h + 2 * placement.halo);
  const int64_t stride_n = stride_d * (extents.d + 2 * placement.halo);
  return n * stride_n + (d + placement.halo) * stride_d + (h + placement.halo) * stride_h +
         (w + placement.halo) * stride_w + placement.first_channel + channel;
}

}  // namespace exercise::elementwise
