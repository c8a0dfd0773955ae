// The gradient of the weights at stride 2, for kernels that make it alone or beside that of the input. A warp
// takes one kw and all nine (kd, kh) of 16 fine and 16 coarse channels. It keeps the fragments of a coarse
// plane in registers for the three fine planes around it, and fine row 2 r + 2 for the coarse rows r and r +
// 1. Both operands lie in shared memory as rows of channels and are transposed on the way.
#pragma once

#include "kernels/conv3d/conv3d_strided.cuh"

namespace vg::kernels::cuda {

using StridedWgradSums = float[3][3][2][4];  ///< [kd][kh][fragment of 8 coarse channels]

/// The lane's place in a plane of fine voxels: its fragments of A want the matrices (voxels of row h;
/// channels 0-7, 8-15), (voxels of row h + Rows; the same). `first_row`: of the warp's 2 * Rows coarse rows.
template <int Rows>
__device__ __forceinline__ uint32_t strided_wgrad_fine_lane(int first_row, int kw) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return halo_offset(StridedTile::channels, StridedTile::fine_columns, 2 * (first_row + lane / 16 * Rows),
                     StridedTile::entry(2 * (lane % 8) + kw), lane / 8 % 2);
}

/// The same in a plane of Columns coarse voxels a row, for fragments of B, which want (channels 0-7; voxels
/// of row h, h + Rows), (channels 8-15; the same) of the block-th 16 channels.
template <int Rows, int Channels, int Columns>
__device__ __forceinline__ uint32_t strided_wgrad_coarse_lane(int first_row, int block) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return halo_offset(Channels, Columns, first_row + lane / 8 % 2 * Rows, lane % 8, 2 * block + lane / 16);
}

/// sums += the coarse plane, in registers, times one plane of the fine side. `fine` is the lane's address for
/// ldmatrix in the first row.
template <int Rows>
__device__ __forceinline__ void strided_wgrad_multiply(float (&sums)[3][2][4], const uint32_t (&b)[Rows][4],
                                                       uint32_t fine) {
  uint32_t a[3][4];
  ptx::load_matrix_x4_transposed(a[0], fine);
#pragma unroll
  for (int row = 0; row < Rows; ++row) {
#pragma unroll
    for (int kh = 1; kh < 3; ++kh)
      ptx::load_matrix_x4_transposed(a[(2 * row + kh) % 3],
                                     fine + (2 * row + kh) * StridedTile::fine_row_bytes);
#pragma unroll
    for (int kh = 0; kh < 3; ++kh) {
      ptx::mma_m16n8k16(sums[kh][0], a[(2 * row + kh) % 3], b[row][0], b[row][1]);
      ptx::mma_m16n8k16(sums[kh][1], a[(2 * row + kh) % 3], b[row][2], b[row][3]);
    }
  }
}

/// Adds the sums of the Parts of the tile in order, in shared memory as [coarse channel][fine channel][27]
/// with StridedWgradTile::sums_pitch floats for a coarse channel, and stores them to the block's part of the
/// partial gradient. For all Threads of the block; `part` of a warp without sums is -1.
template <int Blocks, int Parts, int Threads>
__device__ __forceinline__ void strided_wgrad_store(float* partial, float* shared,
                                                    const StridedWgradSums& sums, int kw, int block, int part,
                                                    int64_t fine_channels) {
  constexpr int pitch = StridedWgradTile::sums_pitch, run = StridedTile::channels * 27;
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4;
  for (int turn = 0; turn < Parts; ++turn) {
    __syncthreads();
    if (part != turn) continue;
#pragma unroll
    for (int kdh = 0; kdh < 9; ++kdh) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int fine = g + i / 2 % 2 * 8, coarse = block * 16 + i / 4 * 8 + 2 * q + i % 2;
        float& sum = shared[coarse * pitch + fine * 27 + kdh * 3 + kw];
        sum = sums[kdh / 3][kdh % 3][i / 4][i % 4] + (turn == 0 ? 0.0f : sum);
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 16 * Blocks * run; i += Threads)
    partial[i / run * fine_channels * 27 + i % run] = shared[i / run * pitch + i % run];
}

}  // namespace vg::kernels::cuda
