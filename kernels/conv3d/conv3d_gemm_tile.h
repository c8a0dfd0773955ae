// How the matrix-product kernels (conv3d_gemm_cuda.cu, conv3d_gemm_wgrad_cuda.cu) see a convolution of stride
// 1 that keeps the extents, and how their blocks lay operands out in shared memory. Host code too, so that it
// is tested without a GPU.
//
// Positions: voxels are numbered along N, D, H, W, and with kernel 3 a column of zeros follows each row: it
// is the padding behind that row and before the next one. A tap kw is then a shift by kw - 1 positions,
// across the ends of rows too, and one tile of the input serves all three.
#pragma once

#include <cstdint>

#include "kernels/common/view.h"

namespace vg::kernels {

/// Where chunk `chunk` (8 channels, 16 bytes) of row `row` lies in a tile with rows of 4 or 8 chunks in
/// shared memory. Swizzled by the row: the same chunk of 8 neighbouring rows, from any first row on, lies in
/// 8 different groups of 4 banks.
VG_INLINE constexpr int gemm_offset(int chunks, int row, int chunk) {
  const int key = chunks == 8 ? row & 7 : row >> 1 & 3;
  return row * chunks * 16 + ((chunk ^ key) << 4);
}

/// A block computes positions() x `columns` outputs in K steps of 32 channels of one tap. With mma four warps
/// stand one above the other, 64 x 64 outputs each, and share the weights: 256 x 64 reads a byte from the
/// second-level cache for 54 products (128 x 128: 48), and 64 outputs need no other tile. With warpgroup
/// products, which read both operands from shared memory, 128 columns serve a row of the input twice as often
/// as 64. Two blocks fit into a multiprocessor's registers.
struct GemmTile {
  int kernel_size;         ///< 1 or 3; warpgroups: 3
  int columns;             ///< output channels: mma 32 or 64, warpgroups 64 or 128
  bool warpgroup = false;  ///< products of a warpgroup, compute capability 9.0
  static constexpr int threads = 128, channels = 32;

  VG_INLINE constexpr int positions() const { return columns == 128 ? 128 : 256; }
  VG_INLINE constexpr int input_rows() const { return positions() + kernel_size - 1; }
  VG_INLINE constexpr int input_bytes() const { return (input_rows() * channels * 2 + 127) / 128 * 128; }
  VG_INLINE constexpr int weight_bytes() const { return columns * channels * 2; }
  /// Steps ahead of the products at which copies start.
  VG_INLINE constexpr int ahead() const { return warpgroup ? 4 : 3; }
  /// A step's place is free again one step after it; two where products run on into the next step.
  VG_INLINE constexpr int weight_ring() const { return ahead() + (warpgroup ? 2 : 1); }
  /// With kernel 3 a tile of the input lasts three steps. (Three would do for warpgroups: powers of two save
  /// divisions.)
  VG_INLINE constexpr int input_ring() const { return kernel_size == 3 && !warpgroup ? 2 : 4; }
  VG_INLINE constexpr int shared_bytes() const {
    return input_ring() * input_bytes() + weight_ring() * weight_bytes();
  }
};

/// Kernel 3 without the columns of zeros: a block computes 256 voxels x 128 channels in eight warps of 64 x
/// 64; a step is one tap and 32 channels. The tile of the input is by a row and a voxel at each end longer
/// than the block's voxels and lasts nine steps: 88 products a byte from the second-level cache.
struct GemmPlaneTile {
  static constexpr int warps_c = 2, threads = 256, columns = 128, positions = 256, row_bytes = 64;
  static constexpr int widest = 31, rows = positions + 2 * widest + 2;
  static constexpr int input_bytes = rows * row_bytes, weight_bytes = columns * row_bytes;
  static constexpr int ahead = 2, weight_ring = ahead + 1, input_ring = 2, zero_bytes = 128;
  VG_INLINE static constexpr int shared_bytes() {
    return input_ring * input_bytes + weight_ring * weight_bytes + zero_bytes;
  }
  /// Where it takes less than tiles of positions with columns of zeros: those would be an eighth and more.
  static constexpr int64_t widest_row = 8;
  VG_INLINE static constexpr bool suits(int64_t out_channels, int64_t width) {
    return out_channels % columns == 0 && width <= widest_row;
  }
};

/// The output channel of column `column` of fragment `fragment` (of 8 columns): a lane, which holds columns
/// 2 q and 2 q + 1 of every fragment, then holds 8 neighbouring channels of every 32.
VG_INLINE constexpr int gemm_channel(int fragment, int column) {
  return fragment / 4 * 32 + column / 2 * 8 + fragment % 4 * 2 + column % 2;
}

/// Gradient of the weights: a block takes 64 input and 64 output channels of one (kd, kh) and all kw, in
/// stages of 48 positions. A warp takes 16 input channels: 24 products a step for 7 loads, and 96 sums leave
/// the registers for three blocks a multiprocessor, which an A100's shared memory holds too. 47 products a
/// byte from the second-level cache. (Warps of 64 x 64 for one kw would need 4 loads for 16 products, but
/// three of them a block do not fill a multiprocessor's four parts evenly.)
struct GemmWgradTile {
  static constexpr int channels = 64, positions = 48, warps = 4, threads = 128, ring = 4;
  static constexpr int stage_bytes = positions * channels * 2;  ///< of x or dy
  static constexpr int shared_bytes = 2 * ring * stage_bytes;
};

/// The same for rows of at most `widest` voxels: a block takes one kd and its nine taps, in stages of 32
/// voxels without padding between rows. A warp takes 16 input and 32 output channels: 36 products of 16
/// voxels for 11 loads, 144 sums a lane. 144 products a byte from the second-level cache.
struct GemmPlaneWgradTile {
  static constexpr int channels = 64, positions = 32, threads = 256, widest = 31;
  /// Stages ahead of the one in use; and of x and dy those behind it, into which the taps, by two rows and
  /// two voxels, and the voxel itself, by a row and a voxel, reach back.
  static constexpr int ahead = 2, behind = 2, dy_behind = 1;
  static constexpr int row_bytes = channels * 2, stage_bytes = positions * row_bytes;
  /// A row of zeros, from a ring's length on the ring of dy, then that of x.
  static constexpr int dy_ring_bytes = 4 * stage_bytes, x_ring_bytes = 8 * stage_bytes;
  static constexpr int shared_bytes = 2 * x_ring_bytes;
  static_assert(2 * widest + 2 <= behind * positions && widest + 1 <= dy_behind * positions &&
                (behind + 1 + ahead) * stage_bytes <= x_ring_bytes &&
                (dy_behind + 1 + ahead) * stage_bytes <= dy_ring_bytes && 2 * dy_ring_bytes == x_ring_bytes);
};

/// Voxels and padding as positions.
template <class T>
constexpr int64_t gemm_positions(const View<T>& v, int kernel_size) {
  return v.rows() * (v.w + (kernel_size == 3 ? 1 : 0));
}

/// Pieces into which the `steps` of a sum are cut so that `blocks` of them fill a GPU that holds `resident`
/// blocks at a time: the number with the least waves * (steps of a piece + start + finish), the fewest of
/// equals. `start` and `finish` are the costs, in steps, of a block's beginning and, with more than one
/// piece, of writing and adding partial sums.
int64_t gemm_pieces(int64_t blocks, int64_t steps, int64_t resident, int64_t start, int64_t finish);

}  // namespace vg::kernels
