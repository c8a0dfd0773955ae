// Winograd convolutions on the CPU: kernel 3, stride 1, padding 1. For *_cpu.cpp.
//
// F(MD, 3) along D times F(MH, 3) along H; along W the direct method's tiles slide over each frequency. So
// the layout of activations stays, transforms are vector code over channels, and a product is as fast as a
// direct convolution with a 1x1x3 kernel.
#pragma once

#include "kernels/conv3d/conv3d_pack_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

/// Tiles of `m` outputs along an axis. Where m does not divide the extent, which is at least m, the last tile
/// ends with it and overlaps the one before.
VG_INLINE int64_t winograd_tiles(int64_t extent, int m) {
  return (extent + m - 1) / m;
}
/// Where a tile along an axis begins, and how many of its first outputs the tile before it has.
struct TileStart {
  int64_t begin, done;
};
VG_INLINE TileStart winograd_tile_start(int64_t index, int m, int64_t extent) {
  const int64_t begin = index * m + m <= extent ? index * m : extent - m;
  return {begin, index * m - begin};
}

/// Output voxels of a tile along D and H; zeros if no tile fits.
struct WinogradTile {
  int d, h;
  VG_INLINE int64_t frequencies() const { return int64_t{d + 2} * (h + 2); }
  VG_INLINE bool exists() const { return d != 0; }
  /// Of all tiles of a plane of outputs d x h.
  VG_INLINE int64_t products(int64_t extent_d, int64_t extent_h) const {
    return frequencies() * winograd_tiles(extent_d, d) * winograd_tiles(extent_h, h);
  }
};

/// The tile with the fewest products for the extents, the smaller one of equals: the more outputs a tile has,
/// the fewer products an output takes (27, or 12, 9, 6.75 with 2x2, 2x4, 4x4), unless overlaps take them
/// back.
VG_INLINE WinogradTile winograd_tile(int64_t d, int64_t h) {
  if (d < 2 || h < 2) return {0, 0};
  WinogradTile best{2, 2};
  for (const WinogradTile tile : {WinogradTile{2, 4}, WinogradTile{4, 4}}) {
    if (tile.d <= d && tile.h <= h && tile.products(d, h) < best.products(d, h)) best = tile;
  }
  return best;
}

/// How many of `channels` channels, whole blocks of them, are transformed together where threads share those
/// of a voxel: a few cache lines.
VG_INLINE int64_t neighbouring_channels(int64_t channels) {
  return channels % (4 * channel_block) == 0 ? 4 * channel_block : channel_block;
}

/// As correlate() with stride 1 and padding 1. The extents have a tile, x has a halo, channels are multiples
/// of 16 on both sides.
void correlate_winograd(View<float> y, View<const float> x, const Weights& weights, const Epilogue& epilogue,
                        const Exec& exec);

/// Weights of all frequencies, [frequency][block of out][in][kw][lanes] with a cache line after each
/// frequency, for outputs of a tile; their number, and into filters[that number]. What `packed` of Weights
/// stands for here.
int64_t winograd_filter_floats(const Weights& weights, const WinogradTile& tile);
void winograd_filters(float* filters, const Weights& weights, const WinogradTile& tile);

/// As correlation_gradient() for a kernel of 3 with stride 1 and padding 1, under the same conditions.
void correlation_gradient_winograd(float* dweight, View<const float> dy, View<const float> x,
                                   const Exec& exec);

}  // namespace vg::kernels::cpu::VG_ISA
