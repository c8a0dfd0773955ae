// How the TF32 kernels (conv3d_tf32*_cuda.cu) see a convolution of any kernel size, stride and padding, its
// transpose and its gradients, and how their blocks lay operands out in shared memory. Host code too, so that
// it is tested without a GPU.
//
// Forward and input gradient are both a sum over taps and channels of what the input has at stride *
// position + offset, along each axis. In the transpose with stride 2 the outputs u = 2 z + parity take those
// taps k with u + padding - k even, from input z + (parity + padding - k) / 2: eight lattices of outputs,
// each of which has its own taps.
#pragma once

#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"

namespace vg::kernels {

/// The taps of one axis: tap number i is the kernel's `tap(i)` and takes the input at stride * position +
/// first_offset + i.
struct Tf32Axis {
  int count, first_tap, tap_step, first_offset;
  VG_INLINE constexpr int tap(int i) const { return first_tap + i * tap_step; }
};

VG_INLINE constexpr Tf32Axis tf32_forward_axis(int kernel_size, int padding) {
  return {kernel_size, 0, 1, -padding};
}
/// Of the transpose, for outputs `stride` * position + `parity`.
VG_INLINE constexpr Tf32Axis tf32_transposed_axis(int kernel_size, int stride, int padding, int parity) {
  const int first = (parity + padding) % stride, count = (kernel_size - first + stride - 1) / stride,
            last = first + (count - 1) * stride;
  // The last tap has the least offset; no tap: nothing is used.
  return {count, last, -stride, (parity + padding - last) / stride};
}

/// A block computes 256 positions x `columns` outputs in K steps of 16 channels of one tap: 64 bytes a
/// position, the shape of a step of bfloat16 (GemmTile). With `taps` 3, for stride 1, kernel 3 and padding 1,
/// a tile of the input serves the three taps kw, as there.
constexpr GemmTile tf32_tile(int taps, int columns) {
  return {taps, columns};
}
inline constexpr int tf32_channels = 16;  ///< of a K step

/// The output channel of column `column` of fragment `fragment`: a lane, which holds columns 2 q and 2 q + 1
/// of every fragment, then holds 4 neighbouring channels of every 16, 16 bytes.
VG_INLINE constexpr int tf32_channel(int fragment, int column) {
  return fragment / 2 * 16 + column / 2 * 4 + fragment % 2 * 2 + column % 2;
}

/// Gradient of the weights, a matrix product over positions: a block takes 16 or 32 input and output channels
/// of one tap (or three kw), in stages of 64 positions, of which each of four warps takes 16. ldmatrix
/// transposes 16-bit values alone; here a lane loads `width` neighbouring channels of one voxel, which are
/// its elements of as many fragments: channel width * g + i of the block is row (or column) g of fragment i
/// (of rows: of half a fragment). Channels of 32: 49,920 bytes of shared memory with three stages.
struct Tf32WgradTile {
  int taps;               ///< 1 or 3
  int x_width, dy_width;  ///< 2 or 4
  static constexpr int positions = 64, warps = 4, threads = 128, ring = 3;

  VG_INLINE constexpr int x_channels() const { return 8 * x_width; }
  VG_INLINE constexpr int dy_channels() const { return 8 * dy_width; }
  VG_INLINE constexpr int x_rows() const { return positions + taps - 1; }
  VG_INLINE constexpr int x_bytes() const { return x_rows() * x_channels() * 4; }
  VG_INLINE constexpr int dy_bytes() const { return positions * dy_channels() * 4; }
  VG_INLINE constexpr int sums() const { return taps * x_channels() * dy_channels(); }
  VG_INLINE constexpr int shared_bytes() const {
    const int stages = ring * (x_bytes() + dy_bytes());
    return stages > sums() * 4 ? stages : sums() * 4;
  }
};

/// Where the 16 bytes of chunk `chunk` of row `row` lie in rows of 4 or 8 chunks. Swizzled so that chunk c of
/// rows r to r + 3 and chunk c + 1 (8 chunks; c even) or c to c + 3 halves of chunks (4 chunks; loads of 8
/// bytes) lie in different banks, and rows r and r + 4 at a constant distance.
VG_INLINE constexpr int tf32_wgrad_offset(int chunks, int row, int chunk) {
  const int key = chunks == 8 ? (row & 3) << 1 : (row >> 1 & 1) << 1;
  return row * chunks * 16 + ((chunk ^ key) << 4);
}

}  // namespace vg::kernels
