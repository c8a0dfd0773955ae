// What the matrix products for stride 2 (conv3d_strided_gemm_tile.h) share: copies of tiles of one parity of
// the fine volume and their rows.
#pragma once

#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"
#include "kernels/conv3d/conv3d_halo.cuh"
#include "kernels/conv3d/conv3d_strided_gemm_tile.h"

namespace vg::kernels::cuda {

/// What a thread copies of a tile of fine voxels: 16 bytes of every (threads / 4)-th row. The row behind
/// `first`
/// - width - 1 + row is that of the coarse voxel of this number.
template <class T>
class ParityRows {
 public:
  __device__ __forceinline__ ParityRows(const View<const bfloat16>& fine, const View<bfloat16>& coarse,
                                        int first)
      : row_(static_cast<int>(threadIdx.x) / 4), chunk_(static_cast<int>(threadIdx.x) % 4) {
    const int width = static_cast<int>(coarse.w), height = static_cast<int>(coarse.h),
              depth = static_cast<int>(coarse.d), count = static_cast<int>(coarse.voxels());
    width_ = width;
#pragma unroll
    for (int i = 0; i < turns; ++i) {
      const int position = first - width - 1 + row_ + i * row_step;
      offset_[i] = 0;
      if (position < 0 || position >= count || row_ + i * row_step > T::positions + width) continue;
      const int w = position % width, h = position / width % height, d = position / width / height % depth,
                n = position / width / height / depth;
      offset_[i] = static_cast<int>(n * fine.stride_n + 2 * d * fine.stride_d + 2 * h * fine.stride_h +
                                    2 * w * fine.stride_w);
      const uint32_t bits = (d > 0 ? 1 : 0) | 2 | (2 * d + 1 < fine.d ? 4 : 0) |
                            (2 * h + 1 < fine.h ? 8 : 0) | (2 * w + 1 < fine.w ? 16 : 0);
      inside_[i / turns_a_word] |= bits << i % turns_a_word * 5;
    }
  }

  /// Starts the copies of the fine voxels of one parity and kd, channels from 32 * `chunk` on.
  __device__ __forceinline__ void copy(uint32_t tile, const View<const bfloat16>& fine, int kd, int chunk,
                                       int parity) const {
    const bool odd_h = strided_gemm_odd_h(parity), odd_w = strided_gemm_odd_w(parity);
    const int channel = chunk * StridedGemmTile::channels + chunk_ * 8;
    const int shift = channel + (kd - 1) * static_cast<int>(fine.stride_d) +
                      (odd_h ? static_cast<int>(fine.stride_h) : 0) +
                      (odd_w ? static_cast<int>(fine.stride_w) : 0);
    // No row has all bits of a word.
    const uint32_t needed = channel < fine.c ? 1u << kd | uint32_t{odd_h} << 3 | uint32_t{odd_w} << 4 : ~0u;
    // Where no tap shifts, the tile's first rows are not read.
    const bool first_inside = row_ >= (odd_h ? 0 : width_) + (odd_w ? 0 : 1);
    const uint32_t to = tile + gemm_offset(4, row_, chunk_);
#pragma unroll
    for (int i = 0; i < turns; ++i) {
      const bool inside =
          (inside_[i / turns_a_word] >> i % turns_a_word * 5 & needed) == needed && (i > 0 || first_inside);
      ptx::copy_16_async(to + i * row_step * StridedGemmTile::row_bytes,
                         fine.data + (inside ? offset_[i] + shift : 0), inside);
    }
  }

 private:
  static constexpr int row_step = T::threads / 4, turns = T::rows / row_step, turns_a_word = 6;
  static_assert(T::rows % row_step == 0 && row_step > StridedGemmTile::widest);

  int row_, chunk_, width_;
  int offset_[turns];
  // By turn: is the voxel there with kd = 0, 1, 2; at an odd place along H; along W.
  uint32_t inside_[(turns + turns_a_word - 1) / turns_a_word] = {};
};

/// Where a lane's voxels and their neighbours lie in a tile for ldmatrix, and whether there are such: for the
/// convolution (Sign -1) the voxel before and the row above, in a tile from these on, for its transpose (1)
/// the voxel behind and the row below. The warp's fragments are `Fragments` of 16 voxels behind each other.
template <int Sign, int Fragments>
class NeighbourRows {
 public:
  /// For coarse voxels of these extents from `block_first` + `first` on. `zeros`: StridedGemmTile::zero_bytes
  /// of them.
  __device__ __forceinline__ NeighbourRows(int width, int height, int block_first, int first, uint32_t zeros)
      : zeros_(zeros) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int shift = 0; shift < 4; ++shift) {
      const int neighbour = (shift / 2 == 0 ? 0 : width) + shift % 2;
      from_[shift] =
          gemm_offset(4, first + lane % 16 + (Sign < 0 ? width + 1 - neighbour : neighbour), lane / 16);
    }
#pragma unroll
    for (int i = 0; i < Fragments; ++i) {
      const int position = block_first + first + i * 16 + lane % 16, w = position % width,
                h = position / width % height;
      const bool beside = Sign < 0 ? w > 0 : w + 1 < width, beyond = Sign < 0 ? h > 0 : h + 1 < height;
      inside_ |= uint32_t{beside} << i | uint32_t{beyond} << (Fragments + i) |
                 uint32_t{beside && beyond} << (2 * Fragments + i);
    }
  }

  /// Fragment i of 16 voxels, the `half`-th 16 channels, of the neighbours in the row above or below, and of
  /// those beside.
  __device__ __forceinline__ void load(uint32_t (&a)[4], uint32_t tile, int i, int half, bool beyond,
                                       bool beside) const {
    const int shift = 2 * beyond + beside;
    const uint32_t lane = from_[shift] ^ half << 5;
    uint32_t from = lane + tile + i * 16 * StridedGemmTile::row_bytes;
    // The same banks.
    if (shift > 0 && (inside_ >> (Fragments * (shift - 1) + i) & 1) == 0)
      from = zeros_ + lane % StridedGemmTile::zero_bytes;
    ptx::load_matrix_x4(a, from);
  }

 private:
  static_assert(3 * Fragments <= 32);
  uint32_t zeros_;
  uint32_t from_[4];     // by shift: none, beside, beyond, both
  uint32_t inside_ = 0;  // by shift other than none, the fragments
};

/// Writes the zeros that neighbours read; visible after a barrier.
__device__ __forceinline__ void store_zeros(uint32_t zeros) {
  if (threadIdx.x < StridedGemmTile::zero_bytes / 16)
    ptx::store_shared_16(zeros + threadIdx.x * 16, 0, 0, 0, 0);
}

}  // namespace vg::kernels::cuda
