// How the tensor-core kernels for kernel 3, stride 2 and padding 1 (conv3d_strided*_cuda.cu) cut a problem
// into blocks and lay planes out in shared memory. Host code too, so that it is tested without a GPU.
//
// Of such a convolution and its transpose, the `fine` side has the extents of the convolution's input, the
// `coarse` side those of its output: coarse voxel v meets fine voxels 2 v - 1, 2 v, 2 v + 1 along each axis.
// Every block tile is 16 x 8 coarse voxels of a plane, and a stage of the pipeline holds 16 channels: the
// extents of the wide levels (40, 20, 10, 5 along W) waste little of a tile of 8.
#pragma once

#include "kernels/conv3d/conv3d_halo_tile.h"

namespace vg::kernels {

struct StridedTile {
  static constexpr int channels = 16;  ///< of the reduced side, in a stage of the pipeline
  static constexpr int height = 16, width = 8, threads = 128;

  // A row of fine voxels keeps the even and the odd columns apart, so that a tap of 8 neighbouring coarse
  // voxels is again 8 neighbouring entries for ldmatrix. Columns are counted from that of the first tap.
  static constexpr int fine_rows = 2 * height + 1, fine_columns = 2 * width + 1;
  VG_INLINE static constexpr int entry(int column) { return column % 2 * (width + 1) + column / 2; }
  VG_INLINE static constexpr int column(int entry) {
    return entry <= width ? 2 * entry : 2 * (entry - width) - 1;
  }
  static constexpr int fine_row_bytes = fine_columns * channels * 2,
                       fine_plane_bytes = fine_rows * fine_row_bytes;
};

/// The convolution: fine to coarse. A warp computes 2 * rows x 8 voxels of 8 * fragments channels.
struct StridedForwardTile : StridedTile {
  int out_channels;  ///< of a block
  int rows;
  int warps_h, warps_c;  ///< along H; along channels
  /// With 16 input channels a block keeps all of its weights, and its planes move through a ring of three: a
  /// third of them serve two planes of outputs. With more, the stages (channels, kd) follow each other
  /// through two places, weights with them.
  bool march;

  VG_INLINE constexpr int fragments() const { return out_channels / warps_c / 8; }
  VG_INLINE constexpr int weight_bytes() const { return 9 * channels * out_channels * 2; }  ///< of a stage
  VG_INLINE constexpr int stages() const { return march ? 3 : 2; }
  VG_INLINE constexpr int shared_bytes() const { return stages() * (fine_plane_bytes + weight_bytes()); }
};

/// 4 rows a warp: 9 loads of the input for 12 uses. Each fits twice into the shared memory of an A100's
/// multiprocessor (164 KiB). The last one also takes 16 channels: with a tile of their own a product would
/// cost three integer instructions for copies.
inline constexpr StridedForwardTile strided_forward_tiles[] = {
    {{}, 32, 4, 2, 2, true},
    {{}, 64, 4, 2, 2, false},
    {{}, 32, 4, 2, 2, false},
};
inline constexpr int strided_forward_tile_count =
    sizeof(strided_forward_tiles) / sizeof(strided_forward_tiles[0]);

/// The index of the tile for so many channels of input and output, or -1.
constexpr int strided_forward_tile_index(int64_t in_channels, int64_t out_channels) {
  if (in_channels < 16 || in_channels % 16 != 0 || out_channels < 16 || out_channels % 16 != 0) return -1;
  for (int i = 0; i < strided_forward_tile_count; ++i) {
    const StridedForwardTile& tile = strided_forward_tiles[i];
    const bool fits = out_channels % tile.out_channels == 0 || i + 1 == strided_forward_tile_count;
    if (fits && (!tile.march || in_channels == tile.channels)) return i;
  }
  return -1;
}

/// The transpose: coarse to fine. A warp takes 2 * rows x 8 coarse voxels to the 8 times as many fine ones,
/// 16 channels of them: 128 sums a lane.
struct StridedTransposedTile : StridedTile {
  static constexpr int out_channels = 16, rows = 2;
  static constexpr int coarse_rows = height + 1, coarse_columns = width + 1;
  static constexpr int row_bytes = coarse_columns * channels * 2, plane_bytes = coarse_rows * row_bytes;
  static constexpr int weight_bytes = 27 * channels * out_channels * 2;
  /// A stage is two planes and all taps of 16 input channels.
  static constexpr int stages = 2, shared_bytes = stages * (2 * plane_bytes + weight_bytes);
};

/// The gradient of the weights. Blocks of 16 fine channels and 16 or 32 coarse ones (`blocks` of 16); three
/// warps, one for each kw, for each block of coarse channels and part of the tile.
struct StridedWgradTile : StridedTile {
  int blocks;

  static constexpr int warps = 6, threads = warps * 32;
  static constexpr int ring = 3;  ///< planes of the fine side
  /// Floats between coarse channels where the warps' sums are added, 16 * 27 of them used: 4 more let lanes
  /// of neighbouring channels meet different banks.
  static constexpr int sums_pitch = channels * 27 + 4;

  VG_INLINE constexpr int parts() const { return warps / 3 / blocks; }
  VG_INLINE constexpr int rows() const { return height / 2 / parts(); }
  VG_INLINE constexpr int coarse_channels() const { return 16 * blocks; }
  VG_INLINE constexpr int coarse_row_bytes() const { return width * coarse_channels() * 2; }
  VG_INLINE constexpr int shared_bytes() const {
    const int planes = ring * fine_plane_bytes + height * coarse_row_bytes(),
              sums = coarse_channels() * sums_pitch * 4;
    return planes > sums ? planes : sums;
  }
};

/// Both gradients of the transposed convolution from 32 coarse channels to 16 fine ones in one pass: six
/// warps compute that of the weights, as in StridedWgradTile, four that of the input, as the first of
/// strided_forward_tiles. All copy the planes and make the fine gradient.
struct TransposedGradientsTile : StridedTile {
  static constexpr int coarse_channels = 32, wgrad_warps = 6, threads = (wgrad_warps + 4) * 32;
  static constexpr int coarse_plane_bytes = height * width * coarse_channels * 2,
                       weight_bytes = 27 * channels * coarse_channels * 2;
  static constexpr int ring = 3;  ///< planes of the fine side
  /// Where things lie: planes of the fine gradient, two of the norm's input that it is made of, two of the
  /// coarse side, weights. In the end the sums of the weights' gradient take the first's place.
  static constexpr int beside = ring * fine_plane_bytes, coarse = beside + 2 * fine_plane_bytes,
                       weights = coarse + 2 * coarse_plane_bytes, shared_bytes = weights + weight_bytes;
  static_assert(coarse_channels * StridedWgradTile::sums_pitch * 4 <= weights);
};

/// Both gradients between 16 fine and 32 coarse channels in one pass. Six warps copy the planes, make the
/// coarse gradient and compute that of the weights, as in StridedWgradTile; six compute that of the fine
/// side, 2 x 8 coarse voxels each. 12 rows: with 16 there would be 14 warps, of 128 registers.
struct StridedGradientsTile : StridedTile {
  static constexpr int height = 12, coarse_channels = 32;
  static constexpr int wgrad_warps = 6, copy_threads = wgrad_warps * 32,
                       threads = copy_threads + height / 2 * 32;
  static constexpr int fine_rows = 2 * height + 1, fine_plane_bytes = fine_rows * fine_row_bytes;
  /// With the neighbours that the fine voxels of the last row and column come from as well.
  static constexpr int coarse_rows = height + 1, coarse_columns = width + 1,
                       coarse_row_bytes = coarse_columns * coarse_channels * 2,
                       coarse_plane_bytes = coarse_rows * coarse_row_bytes;
  static constexpr int fine_ring = 3, coarse_ring = 2;
  static constexpr int weight_bytes = 27 * channels * coarse_channels * 2;
  /// Where things lie: planes of the coarse gradient, one of the norm's input that it is made of, planes of
  /// the fine side, weights. In the end the sums of the weights' gradient take the first's place.
  static constexpr int beside = coarse_ring * coarse_plane_bytes, fine = beside + coarse_plane_bytes,
                       weights = fine + fine_ring * fine_plane_bytes, shared_bytes = weights + weight_bytes;
  static_assert(coarse_channels * StridedWgradTile::sums_pitch * 4 <= weights);
};

}  // namespace vg::kernels
