// The products of a convolution with kernel 3 and stride 2 on tensor cores, for kernels that compute it alone
// or beside a gradient of weights. Voxels are the rows of the matrix products, output channels the columns;
// fine row r of a fragment feeds the coarse rows (r - kh) / 2 whose tap kh it is, so that odd rows are used
// once and even ones twice.
#pragma once

#include "kernels/conv3d/conv3d_strided.cuh"

namespace vg::kernels::cuda {

/// A tile's figures as constants.
template <int Index>
struct StridedForward {
  static constexpr StridedForwardTile shape = strided_forward_tiles[Index];
  static constexpr int rows = shape.rows, warps_c = shape.warps_c, out_channels = shape.out_channels,
                       height = StridedTile::height, width = StridedTile::width,
                       threads = StridedTile::threads, row_bytes = StridedTile::fine_row_bytes,
                       plane_bytes = StridedTile::fine_plane_bytes, stages = shape.stages(),
                       weight_bytes = shape.weight_bytes();
  static constexpr int fragments = shape.fragments();  ///< of 8 output channels, a warp
  static constexpr bool march = shape.march;
  static_assert(shape.warps_h * warps_c * 32 == threads && shape.warps_h * 2 * rows == height);
};

template <class T>
using StridedForwardSums = float[T::rows][T::fragments][4];

/// sums += the nine taps of one plane of 16 channels. `inputs` are the lane's addresses for ldmatrix in the
// plane's first row, by kw; `weights` those of its weights of this kd.
template <class T>
__device__ __forceinline__ void strided_multiply(StridedForwardSums<T>& sums, const uint32_t (&inputs)[3],
                                                 uint32_t plane, uint32_t weights) {
#pragma unroll
  for (int kw = 0; kw < 3; ++kw) {
    uint32_t b[3][T::fragments / 2][4];
#pragma unroll
    for (int kh = 0; kh < 3; ++kh) {
#pragma unroll
      for (int pair = 0; pair < T::fragments / 2; ++pair)
        ptx::load_shared_16(b[kh][pair], weights + ((kh * 3 + kw) * (T::out_channels / 16) + pair) * 512);
    }
#pragma unroll
    for (int row = 0; row < 2 * T::rows + 1; ++row) {
      uint32_t a[4];
      ptx::load_matrix_x4(a, inputs[kw] + plane + row * T::row_bytes);
#pragma unroll
      for (int kh = 0; kh < 3; ++kh) {
        if ((row - kh) % 2 != 0 || row < kh || row - kh >= 2 * T::rows) continue;
#pragma unroll
        for (int j = 0; j < T::fragments; ++j)
          ptx::mma_m16n8k16(sums[(row - kh) / 2][j], a, b[kh][j / 2][j % 2 * 2], b[kh][j / 2][j % 2 * 2 + 1]);
      }
    }
  }
}

/// The lane's addresses for ldmatrix in a plane, by kw, of the warp's coarse rows from `first_row` on: lanes
/// 0-7 and 8-15 give it the upper and lower 8 rows of the first 8 channels, the others those of the second 8.
template <int Rows>
__device__ __forceinline__ void strided_inputs(uint32_t (&inputs)[3], int first_row) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int kw = 0; kw < 3; ++kw)
    inputs[kw] =
        halo_offset(StridedTile::channels, StridedTile::fine_columns, 2 * (first_row + lane / 8 % 2 * Rows),
                    StridedTile::entry(2 * (lane % 8) + kw), lane / 16);
}

}  // namespace vg::kernels::cuda
