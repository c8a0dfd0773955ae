// The products of the tensor-core kernels with a halo tile: voxels of 16 channels times weights, and times
// voxels.
#pragma once

#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_halo.cuh"

namespace vg::kernels::cuda {

/// A tile's figures as constants, and its weights' order:
/// packed[group of output channels][kd][kw][16 input channels][kh][2 fragments of 8 output channels][lane][4]
/// of two bfloat16 each: b0, b1 of the first fragment, b0, b1 of the second, so that a lane takes what it
/// needs with one load of 16 bytes.
template <int Index>
struct HaloProducts {
  static constexpr HaloTile shape = halo_tiles[Index];
  static constexpr int rows = shape.rows, warps = shape.threads() / 32, warps_w = shape.warps_w,
                       height = shape.height(), width = shape.width(), in_channels = shape.in_channels,
                       out_channels = shape.out_channels, plane_bytes = shape.plane_bytes(),
                       row_bytes = shape.row_bytes(), ring = HaloTile::ring;
  static constexpr int steps = in_channels / 16;       ///< of 16 input channels
  static constexpr int fragments = out_channels / 8;   ///< of 8 output channels
  static constexpr int lane_channels = 2 * fragments;  ///< neighbouring channels that a lane computes
  static constexpr int words_a_load = 32 * 4, loads_a_plane = 9 * steps * fragments / 2,
                       packed_words = 3 * loads_a_plane * words_a_load;
  // Pieces of a plane's products, and the pairs of kw and step of each.
  static constexpr bool weights_stay = shape.weight_pieces == 0;
  static constexpr int pieces = weights_stay ? 1 : shape.weight_pieces, pairs = 3 * steps / pieces,
                       piece_bytes = loads_a_plane * words_a_load * 4 / pieces;
  static_assert(3 * steps % pieces == 0);
  static_assert(packed_words * 4 == shape.weight_bytes());
};

/// Where the weight of tap (kd, kh, kw) from reduced channel r to output channel o lies in `weight`.
struct HaloWeightOrder {
  int64_t output_stride, reduced_stride;
  bool flipped;
  __device__ int64_t index(int64_t o, int64_t r, int tap) const {
    return o * output_stride + r * reduced_stride + (flipped ? 26 - tap : tap);
  }
};

/// One thread a word of the packed weights. Column n of fragment j is output channel (n / 2) * lane_channels
/// + 2 j + n % 2: then a lane, which holds columns 2 q and 2 q + 1 of every fragment, holds neighbouring
/// channels.
template <class T>
__global__ void pack_fragments_kernel(uint32_t* packed, const float* weight, HaloWeightOrder order,
                                      int64_t count) {
  const int64_t i = thread_index();
  if (i >= count) return;
  const int word = static_cast<int>(i % 4), lane = static_cast<int>(i / 4 % 32), g = lane / 4, q = lane % 4;
  int rest = static_cast<int>(i / T::words_a_load % (T::packed_words / T::words_a_load));
  const int fragment = rest % (T::fragments / 2) * 2 + word / 2;
  rest /= T::fragments / 2;
  const int kh = rest % 3, step = rest / 3 % T::steps, kw = rest / 3 / T::steps % 3,
            kd = rest / 3 / T::steps / 3;
  const int64_t group = i / T::packed_words;
  const int64_t output = group * T::out_channels + g / 2 * T::lane_channels + 2 * fragment + g % 2,
                reduced = step * 16 + 2 * q + word % 2 * 8;
  const int tap = (kd * 3 + kh) * 3 + kw;
  packed[i] = ptx::pack_bfloat16(weight[order.index(output, reduced, tap)],
                                 weight[order.index(output, reduced + 1, tap)]);
}

/// The lane's fragments of weights for one kw and one step of input channels, the pair-th of its piece: all
/// kh.
template <class T>
__device__ __forceinline__ void load_weights(uint32_t (&b)[3][T::fragments / 2][4], uint32_t weights,
                                             int pair) {
#pragma unroll
  for (int kh = 0; kh < 3; ++kh) {
#pragma unroll
    for (int j = 0; j < T::fragments / 2; ++j)
      ptx::load_shared_16(b[kh][j],
                          weights + ((pair * 3 + kh) * (T::fragments / 2) + j) * T::words_a_load * 4);
  }
}

/// sums += a piece of the products of one plane of the input: some of its pairs of kw and step, all kh.
/// `inputs` are the lane's addresses for ldmatrix in the plane's first row, by kw and step; `weights` the
/// lane's of this piece.
template <class T>
__device__ __forceinline__ void multiply_piece(float (&sums)[T::rows][T::fragments][4],
                                               const uint32_t (&inputs)[3][T::steps], uint32_t plane,
                                               uint32_t weights, int piece) {
#pragma unroll
  for (int pair = 0; pair < T::pairs; ++pair) {
    const int kw = (piece * T::pairs + pair) / T::steps, step = (piece * T::pairs + pair) % T::steps;
    uint32_t b[3][T::fragments / 2][4];
    load_weights<T>(b, weights, pair);
#pragma unroll
    for (int row = 0; row < T::rows + 2; ++row) {
      uint32_t a[4];
      ptx::load_matrix_x4(a, inputs[kw][step] + plane + row * T::row_bytes);
#pragma unroll
      for (int kh = 0; kh < 3; ++kh) {
        if (row - kh < 0 || row - kh >= T::rows) continue;
#pragma unroll
        for (int j = 0; j < T::fragments; ++j)
          ptx::mma_m16n8k16(sums[row - kh][j], a, b[kh][j / 2][j % 2 * 2], b[kh][j / 2][j % 2 * 2 + 1]);
      }
    }
  }
}

/// sums += one plane of voxels without halo (dy) times the three planes with it (x) around it, for one kw: 2
/// * Rows x 8 voxels. `x_planes` and `dy_plane` are the lane's addresses for ldmatrix in the first row. The
/// rows r, r + 1, r + 2 of x stay in registers as r advances.
template <int Rows, int XRowBytes, int DyRowBytes>
__device__ __forceinline__ void multiply_planes(float (&sums)[9][2][4], const uint32_t (&x_planes)[3],
                                                uint32_t dy_plane) {
  uint32_t a[3][3][4];  // [kd][row of x % 3]
#pragma unroll
  for (int row = 0; row < 2; ++row) {
#pragma unroll
    for (int kd = 0; kd < 3; ++kd) ptx::load_matrix_x4_transposed(a[kd][row], x_planes[kd] + row * XRowBytes);
  }
#pragma unroll
  for (int row = 0; row < Rows; ++row) {
    uint32_t b[4];
    ptx::load_matrix_x4_transposed(b, dy_plane + row * DyRowBytes);
#pragma unroll
    for (int kd = 0; kd < 3; ++kd)
      ptx::load_matrix_x4_transposed(a[kd][(row + 2) % 3], x_planes[kd] + (row + 2) * XRowBytes);
#pragma unroll
    for (int kd = 0; kd < 3; ++kd) {
#pragma unroll
      for (int kh = 0; kh < 3; ++kh) {
        ptx::mma_m16n8k16(sums[kd * 3 + kh][0], a[kd][(row + kh) % 3], b[0], b[1]);
        ptx::mma_m16n8k16(sums[kd * 3 + kh][1], a[kd][(row + kh) % 3], b[2], b[3]);
      }
    }
  }
}

}  // namespace vg::kernels::cuda
