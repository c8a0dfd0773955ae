// How the kernels for few input channels (conv3d_first*_cuda.cu: a network's first layer) cut a convolution
// with kernel 3, stride 1 and padding 1 into blocks, and lay operands out in shared memory. Host code too, so
// that it is tested without a GPU.
//
// Voxels of the input have 4 channels, 8 bytes, so that 16 bytes hold a pair: chunk c holds voxels 2 c and
// 2 c + 1 of a row. Chunks c and c + 1 are four neighbouring voxels, which two outputs take, those of 2 c + 1
// and 2 c + 2: with the taps kw on the first three of the four voxels and on the last three. So a row of the
// matrix products is a *pair of outputs*, its 16 columns are 4 voxels x 4 channels, and the weights of both
// outputs stand side by side, a quarter of them zero.
#pragma once

#include "kernels/conv3d/conv3d_gemm_tile.h"

namespace vg::kernels {

/// What both kernels share. Pair i of a tile is the outputs 2 i - 1 and 2 i of its 32 voxels.
struct FirstTile {
  static constexpr int channels = 4;       ///< of the input, with zeros where there are fewer
  static constexpr int out_channels = 16;  ///< of a block
  static constexpr int rows = 4;           ///< fragments of a warp: 8 pairs of row h and 8 of row h + rows
  static constexpr int warps_w = 2;
  static constexpr int pairs = warps_w * 8, width = 2 * pairs;
  /// Chunks of a row of the input in shared memory: pairs + 1, and one before them, so that copies begin at
  /// multiples of 32 bytes. Chunk i of a tile at voxel w is chunk w / 2 - 2 + i of the row.
  static constexpr int row_chunks = pairs + 2, row_bytes = row_chunks * 16;

  /// Where the first of the two chunks of pair `pair` of a row lies. No swizzle: 8 neighbouring pairs are 128
  /// bytes in a row, whatever the first one is.
  VG_INLINE static constexpr int pair_offset(int row, int pair) { return row * row_bytes + (pair + 1) * 16; }
};

/// Forward: 4 warps, 16h x 32w outputs of 16 channels, 64 sums a lane.
struct FirstForwardTile : FirstTile {
  static constexpr int warps_h = 2, threads = warps_h * warps_w * 32, height = warps_h * 2 * rows;
  static constexpr int input_rows = height + 2, plane_bytes = input_rows * row_bytes;
  /// Planes in shared memory: one more than the taps need, so that the next one arrives meanwhile.
  static constexpr int ring = 4;
  static constexpr int weight_bytes = 9 * 16 * 2 * out_channels * 2;
  static constexpr int shared_bytes = ring * plane_bytes + weight_bytes;

  /// The voxel of the pair and the output channel that column `column` of fragment `fragment` computes: a
  /// lane, which holds columns 2 q and 2 q + 1 of all fragments, holds 8 neighbouring channels of one voxel.
  VG_INLINE static constexpr int voxel(int column) { return column / 4; }
  VG_INLINE static constexpr int channel(int fragment, int column) {
    return column / 2 % 2 * 8 + 2 * fragment + column % 2;
  }
};

/// Gradient of the weights: three warps, one for each kd, for each half of 8h x 32w voxels.
struct FirstWgradTile : FirstTile {
  static constexpr int threads = 3 * warps_w * 32, height = 2 * rows;
  static constexpr int input_rows = height + 2, x_plane_bytes = input_rows * row_bytes;
  static constexpr int dy_row_bytes = width * out_channels * 2, dy_plane_bytes = height * dy_row_bytes;
  static constexpr int x_ring = 4, dy_ring = 2;
  static constexpr int shared_bytes = x_ring * x_plane_bytes + dy_ring * dy_plane_bytes;
  /// With a plane of a norm's input, from which and dy its gradient is made.
  static constexpr int shared_bytes_of_gradient = shared_bytes + dy_plane_bytes;
  static constexpr int sums = out_channels * channels * 27;
  static_assert(sums * 4 <= shared_bytes);

  /// Where chunk `chunk` (2 * voxel + half of the channels) of a pair lies: pairs are rows of 64 bytes.
  VG_INLINE static constexpr int dy_offset(int row, int pair, int chunk) {
    return gemm_offset(4, row * pairs + pair, chunk);
  }
};

}  // namespace vg::kernels
