// How the matrix products for kernel 3, stride 2 and padding 1 (conv3d_strided_gemm*_cuda.cu) cut a problem
// into blocks. Host code too, so that it is tested without a GPU.
//
// Rows of the products are coarse voxels, numbered along N, D, H, W without gaps: no extent wastes any. The
// fine voxels 2 v + (odd_d, odd_h, odd_w) of one parity form a volume like the coarse one, and a tap is a
// shift in it, by a row or a voxel or both. A tile of such a volume, in shared memory, serves all the taps
// of its parity; a voxel to whose left or above there is none reads zeros instead, which costs a lane one
// choice of an address.
#pragma once

#include <cstdint>

#include "kernels/common/view.h"

namespace vg::kernels {

struct StridedGemmTile {
  static constexpr int warps = 8, threads = 32 * warps;
  static constexpr int channels = 32;  ///< of the reduced side, in a step
  static constexpr int row_bytes = channels * 2;
  static constexpr int widest =
      63;  ///< coarse voxels a row: a tile is that and a voxel longer than its outputs
  static constexpr int zero_bytes = 128;  ///< zeros to read: one for every group of banks
};

/// The parities of fine voxels in a plane, in the order in which a group of steps, one kd and 32 channels,
/// takes their taps: 0: odd along H and W, 1: along H, 2: along W, 3: neither.
VG_INLINE constexpr bool strided_gemm_odd_h(int parity) {
  return parity < 2;
}
VG_INLINE constexpr bool strided_gemm_odd_w(int parity) {
  return parity % 2 == 0;
}
/// The tap kh * 3 + kw of a step, the step's parity, and whether it is the first with it. An odd place takes
/// taps 0 and 2, an even one tap 1.
VG_INLINE constexpr int strided_gemm_tap(int step) {
  const int taps[9] = {0, 2, 6, 8, 1, 7, 3, 5, 4};
  return taps[step];
}
VG_INLINE constexpr int strided_gemm_parity(int step) {
  return step < 4 ? 0 : step < 6 ? 1 : step < 8 ? 2 : 3;
}
VG_INLINE constexpr bool strided_gemm_first(int step) {
  return step == 0 || strided_gemm_parity(step) != strided_gemm_parity(step - 1);
}

/// The convolution: a warp computes 64 coarse voxels of 64 channels.
struct StridedGemmForwardTile : StridedGemmTile {
  int warps_c;  ///< along channels; the others stand one above the other

  VG_INLINE constexpr int columns() const { return 64 * warps_c; }
  VG_INLINE constexpr int positions() const { return 64 * (warps / warps_c); }
  VG_INLINE constexpr int input_rows() const { return positions() + widest + 1; }
  VG_INLINE constexpr int input_bytes() const { return input_rows() * row_bytes; }
  VG_INLINE constexpr int weight_bytes() const { return columns() * row_bytes; }
  /// Copies start so many steps ahead; then three parities' tiles are in use at most.
  static constexpr int ahead = 2, weight_ring = ahead + 1, input_ring = 3;
  VG_INLINE constexpr int shared_bytes() const {
    return input_ring * input_bytes() + weight_ring * weight_bytes() + zero_bytes;
  }
};

/// The transpose: a block takes coarse voxels to fine ones of one parity along D. A warp computes the four
/// times as many fine voxels of 32 coarse ones and of 32 channels: fragments of a voxel and its three
/// neighbours serve nine taps. 256 voxels and 32 channels need fewest bytes for both operands together where
/// there are 64 channels and more. A stage is one kd and 32 input channels.
struct StridedGemmTransposedTile : StridedGemmTile {
  static constexpr int columns = 32, positions = 32 * warps, rows = positions + widest + 1,
                       plane_bytes = rows * row_bytes, weight_bytes = columns * row_bytes,
                       stage_bytes = plane_bytes + 9 * weight_bytes, stages = 2;
  VG_INLINE static constexpr int shared_bytes() { return stages * stage_bytes + zero_bytes; }
};

/// The gradient of the weights: a block takes fine and coarse channels of one kd and its nine taps: 32 and
/// 128, for which it reads least, 64 and 64 or 32 and 64. A warp takes 16 fine and 32 coarse channels: 36
/// products of 16 voxels for 11 loads, 144 sums a lane. In a stage it takes 16 voxels twice; with 32 and 64
/// channels there are twice as many voxels, and each half of the warps takes every other 16. Or, `outer`, the
/// halves take kd = 0 and 2, of the same fine planes, and all voxels of the stage.
struct StridedGemmWgradTile : StridedGemmTile {
  int fine_channels, coarse_channels;
  bool outer = false;

  static constexpr int widest = 31;  ///< coarse voxels a row: taps reach one stage back
  /// The stages of a parity move through a ring: the one before, the one in use, and those that are copied.
  static constexpr int ahead = 2, ring = ahead + 2;
  /// A row of a ring is 128 bytes: of 32 fine channels a voxel at an even place along W and the next one.
  static constexpr int ring_row_bytes = 128;
  static constexpr int taps = 9, fragments = 4, sums = taps * fragments * 4;  ///< of a lane

  /// Of warps that take the same channels.
  VG_INLINE constexpr int groups() const { return 64 * 64 / (fine_channels * coarse_channels); }
  VG_INLINE constexpr int halves() const { return outer ? 1 : groups(); }
  VG_INLINE constexpr int planes() const { return outer ? 2 : 1; }     ///< kd of a block
  VG_INLINE constexpr int positions() const { return 32 * groups(); }  ///< of a stage
  VG_INLINE constexpr int turns() const { return positions() / (16 * halves()); }
  VG_INLINE constexpr int ring_bytes() const { return ring * positions() * ring_row_bytes; }
  /// Zeros follow each ring of fine channels at the same distance.
  VG_INLINE constexpr int ring_pitch() const { return ring_bytes() + zero_bytes; }
  VG_INLINE constexpr int fine_rings() const { return fine_channels / 16; }
  VG_INLINE constexpr int coarse_rings() const { return coarse_channels / 64; }
  VG_INLINE constexpr int shared_bytes() const {
    const int rings = fine_rings() * ring_pitch() + coarse_rings() * ring_bytes(),
              exchange = halves() > 1 ? threads / 2 * sums * 4 : 0;
    return rings > exchange ? rings : exchange;
  }
};
/// That for so many channels.
constexpr StridedGemmWgradTile strided_gemm_wgrad_tile(int64_t fine_channels, int64_t coarse_channels) {
  if ((coarse_channels - 1) % 128 >= 64) return {{}, 32, 128};
  return {{}, (fine_channels - 1) % 64 < 32 ? 32 : 64, 64};
}
/// The one for kd = 0 and 2 beside the one of 32 and 128 channels, which takes kd = 1 then: both sides are
/// read less often.
inline constexpr StridedGemmWgradTile strided_gemm_wgrad_outer_tile{{}, 32, 64, true};
/// Whether that is taken: kd = 0 takes the fine plane before, which must not be more than a stage back.
constexpr bool strided_gemm_wgrad_outer_applies(int64_t fine_channels, int64_t coarse_channels,
                                                int64_t height, int64_t width) {
  return strided_gemm_wgrad_tile(fine_channels, coarse_channels).coarse_channels == 128 &&
         height * width + width + 1 <= strided_gemm_wgrad_outer_tile.positions();
}
/// Shared memory of a block.
constexpr int strided_gemm_wgrad_shared_bytes(int64_t fine_channels, int64_t coarse_channels, int64_t height,
                                              int64_t width) {
  return strided_gemm_wgrad_outer_applies(fine_channels, coarse_channels, height, width)
             ? strided_gemm_wgrad_outer_tile.shared_bytes()
             : strided_gemm_wgrad_tile(fine_channels, coarse_channels).shared_bytes();
}

/// Pieces into which `steps` are cut for so many blocks of a piece: those that take least where a GPU of so
/// many multiprocessors holds one block each, whatever the device has: the same bits. Storing and adding the
/// sums of one block, through a memory that all share, holds everything up for `partial_cost` / 64 of a step.
int64_t strided_gemm_pieces(int64_t blocks, int64_t steps, int64_t partial_cost,
                            int64_t multiprocessors = 128);

}  // namespace vg::kernels
