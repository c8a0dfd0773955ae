// Extents and channels that no tile likes.
#pragma once

#include <cstdint>

namespace vg::test {

/// Each of D, H and W takes 1, 2, 3, 5, 7 and 17; no volume has more than 170 voxels.
struct OddExtents {
  int64_t d, h, w;
};
inline constexpr OddExtents odd_extents[] = {{1, 3, 7},  {2, 5, 17}, {3, 7, 1},
                                             {5, 17, 2}, {7, 1, 3},  {17, 2, 5}};

/// Pairs of channels, each of which takes 1, 3, 4, 5, 8, 16, 24, 33 and 64.
struct OddChannels {
  int64_t in, out;
};
inline constexpr OddChannels odd_channels[] = {{1, 8},  {3, 16}, {4, 24}, {5, 33}, {8, 64},
                                               {16, 1}, {24, 3}, {33, 4}, {64, 5}};

}  // namespace vg::test
