// Exercise: where an element of a strided view lies. Page: kernels/elementwise/README.md, "Index map".
#pragma once

#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::elementwise {

/// Extents of an activation [N, D, H, W, C].
struct Extents {
  int64_t n, d, h, w, c;
};

/// How it lies in a buffer: with `halo` voxels of padding on both sides of D, H and W, as channels
/// first_channel .. first_channel + c - 1 of voxels with `buffer_channels` channels. The buffer is dense.
struct Placement {
  int64_t halo, buffer_channels, first_channel;
};

/// The offset into the buffer, in elements, of element i in the dense order of [N, D, H, W, C] (channels
/// fastest).
///
/// Solved when: right for every element of some placements, and the page's example is at 158 + 161.
inline int64_t element_offset(int64_t i, const Extents& extents, const Placement& placement) {
  not_solved();
}

}  // namespace exercise::elementwise
