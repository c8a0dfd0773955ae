// How the halo-tile kernel (conv3d_halo_cuda.cu) cuts a convolution into blocks, and how a block lays its
// input out in shared memory. Host code too, so that it is tested without a GPU.
#pragma once

#include <cstdint>

#include "kernels/common/view.h"

namespace vg::kernels {

/// Where the 16 bytes of channels 8 * chunk .. 8 * chunk + 7 of a voxel lie in a plane of so many columns in
/// shared memory. Chunks are swizzled by the column, so that the 8 rows of a matrix that ldmatrix reads, the
/// same chunk of 8 neighbouring columns, lie in 8 different groups of 4 banks, whatever the first column is.
/// 16, 32, 48 or 64 channels; with 8 there is nothing to permute.
VG_INLINE constexpr int halo_offset(int channels, int columns, int row, int column, int chunk) {
  const int key = channels == 64   ? column & 7
                  : channels == 32 ? column >> 1 & 3
                  : channels == 8  ? 0
                                   : column >> 2 & 1;
  return (row * columns + column) * channels * 2 + ((chunk ^ key) << 4);
}

/// A block computes `height()` x `width()` outputs of `out_channels` channels in a plane and marches along D.
/// Its warps stand side by side; a warp computes 2 * rows x 8 outputs: 8 along W of row h and of row h + rows
/// are the 16 rows of a fragment.
struct HaloTile {
  int in_channels, out_channels;
  int rows;  ///< fragments of a warp
  int warps_h, warps_w;
  /// Pieces in which the weights of one kd pass through shared memory, two at a time; 0: all stay there.
  int weight_pieces;

  /// Planes of the input in shared memory: the three that an output plane needs. The next one takes the place
  /// of the first after its taps are done.
  static constexpr int ring = 3;

  VG_INLINE constexpr int threads() const { return warps_h * warps_w * 32; }
  VG_INLINE constexpr int height() const { return warps_h * 2 * rows; }
  VG_INLINE constexpr int width() const { return warps_w * 8; }
  VG_INLINE constexpr int voxel_bytes() const { return in_channels * 2; }
  VG_INLINE constexpr int row_bytes() const { return (width() + 2) * voxel_bytes(); }
  VG_INLINE constexpr int plane_bytes() const { return (height() + 2) * row_bytes(); }
  VG_INLINE constexpr int weight_bytes() const { return 27 * in_channels * out_channels * 2; }
  VG_INLINE constexpr int weight_ring_bytes() const {
    return weight_pieces == 0 ? weight_bytes() : 2 * weight_bytes() / (3 * weight_pieces);
  }
  VG_INLINE constexpr int shared_bytes() const { return ring * plane_bytes() + weight_ring_bytes(); }
};

/// The tiles that exist. 4 rows a fragment reuse a fragment for 3 taps kh at 6 loads for 4 outputs; 8 rows do
/// it at 10 for 8, and 16 channels leave the registers for that. Each fits twice into the shared memory of an
/// A100's or H100's multiprocessor (164 and 228 KiB), so that one block computes while another waits at a
/// barrier, and once into the 99 KiB a block of 8.6 and 8.9. Wide levels are 80 and 40 voxels along W: 8 and
/// 16 divide both or the wider one. Weights that would cost the second block stay in the second-level cache
/// and pass through shared memory while the products of the piece before them are computed: at least 48 for
/// each warp, longer than the cache takes to answer.
inline constexpr HaloTile halo_tiles[] = {
    {16, 16, 8, 2, 2, 0}, {16, 32, 4, 2, 2, 0}, {32, 16, 4, 2, 2, 3}, {32, 32, 4, 4, 1, 3},
    {48, 16, 4, 2, 1, 3}, {48, 32, 4, 2, 1, 3}, {64, 16, 4, 2, 1, 3}, {64, 32, 4, 2, 1, 6},
};
inline constexpr int halo_tile_count = sizeof(halo_tiles) / sizeof(halo_tiles[0]);

/// The index of the tile for so many channels of input and output, or -1. Blocks of 32 output channels share
/// a loaded input among more products; 64 are two blocks of 32, 48 three of 16.
constexpr int halo_tile_index(int64_t in_channels, int64_t out_channels) {
  if (out_channels < 16 || out_channels > 64 || out_channels % 16 != 0) return -1;
  for (int i = 0; i < halo_tile_count; ++i) {
    if (halo_tiles[i].in_channels == in_channels &&
        halo_tiles[i].out_channels == (out_channels % 32 == 0 ? 32 : 16))
      return i;
  }
  return -1;
}

/// The blocks of a launch.
struct HaloGrid {
  int64_t groups;             ///< of output channels
  int64_t tiles_w, tiles_h;   ///< that cover a plane
  int64_t march;              ///< planes along D that a block computes, fewer in the last segment
  int64_t segments, samples;  ///< along D; along N
  VG_INLINE int64_t blocks() const { return groups * tiles_w * tiles_h * segments * samples; }
};

/// The grid of tiles of height x width voxels that covers `out` once for each of `groups`. Every march reads
/// two planes more than it computes, so long ones are better; too few blocks, or a last wave that fills a
/// part of the GPU, are worse: takes the march with the least waves * (march + 2).
HaloGrid halo_grid(int height, int width, int64_t groups, const View<const bfloat16>& out,
                   int multiprocessors);

/// How the gradient of the weights is cut (conv3d_halo_wgrad_cuda.cu): a block takes 16 input and 16 output
/// channels of a tile of voxels in a plane and marches along D. Three warps, one for each kw, take 2 * rows x
/// 8 voxels.
struct HaloWgradTile {
  static constexpr int channels = 16;
  /// 8 rows: 10 loads of x a plane for 8 of dy. Six warps of 72 sums and 48 registers of fragments a lane:
  /// two blocks fit into a multiprocessor's registers, and into 99 KiB of shared memory one. 32 x 8 voxels: 8
  /// divides the 80 and 40 voxels along W of wide levels, 16 would compute 48 for 40.
  int rows = 8, warps_h = 2, warps_w = 1;
  /// Planes of x and dy in shared memory: one more than the taps need, so that the next ones arrive meanwhile
  /// with one barrier a plane.
  static constexpr int x_ring = 4, dy_ring = 2;
  /// Floats between output channels where the warps' sums are added, 16 * 27 of them used: 4 more let lanes
  /// of neighbouring channels meet different banks.
  static constexpr int output_pitch = channels * 27 + 4;

  VG_INLINE constexpr int parts() const { return warps_h * warps_w; }
  VG_INLINE constexpr int threads() const { return 3 * parts() * 32; }
  VG_INLINE constexpr int height() const { return warps_h * 2 * rows; }
  VG_INLINE constexpr int width() const { return warps_w * 8; }
  VG_INLINE constexpr int x_plane_bytes() const { return (height() + 2) * (width() + 2) * channels * 2; }
  VG_INLINE constexpr int dy_plane_bytes() const { return height() * width() * channels * 2; }
  VG_INLINE constexpr int shared_bytes() const {
    const int planes = x_ring * x_plane_bytes() + dy_ring * dy_plane_bytes(),
              sums = channels * output_pitch * 4;
    return planes > sums ? planes : sums;
  }
  /// With a plane of a norm's input, from which and dy its gradient is made: a thread reads of it what it has
  /// copied itself.
  VG_INLINE constexpr int shared_bytes_of_gradient() const { return shared_bytes() + dy_plane_bytes(); }
};

/// How both gradients are cut where that of the output is made on the way (conv3d_halo_gradients_cuda.cu):
/// one block a multiprocessor, ten warps, which march along D as above. Warps 2, 3, 6 and 7 take the gradient
/// of the input, the others that of the weights, half as many products each: warp w runs on the w mod 4-th of
/// a multiprocessor's four parts, so that each part has the same number of products. Two of three and one of
/// two on a part make the next plane amid their products, the others behind them: tensor cores work
/// meanwhile.
struct HaloGradientsTile {
  static constexpr int channels = 16, threads = 320;
  /// Planes of the gradient in shared memory: one more than the taps need. Beside them one of what it is made
  /// of, and two of x.
  static constexpr int ring = 4;
  static constexpr int output_pitch = HaloWgradTile::output_pitch;
  /// Parameters of norms.
  static constexpr int table_bytes = 1024;

  VG_INLINE constexpr int height() const { return halo_tiles[0].height(); }
  VG_INLINE constexpr int width() const { return halo_tiles[0].width(); }
  VG_INLINE constexpr int g_plane_bytes() const { return halo_tiles[0].plane_bytes(); }
  VG_INLINE constexpr int x_plane_bytes() const { return height() * width() * channels * 2; }
  VG_INLINE constexpr int shared_bytes() const {
    return (ring + 1) * g_plane_bytes() + 2 * x_plane_bytes() + halo_tiles[0].weight_bytes();
  }
  /// Of two planes of an attention gate's scores, where x is gated on the way.
  VG_INLINE constexpr int score_bytes() const { return 2 * height() * width() * 4; }
};

}  // namespace vg::kernels
