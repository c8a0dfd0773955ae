// The matrix product of conv3d_gemm_cuda.cu, kernel 3, with the warpgroup instructions of compute capability
// 9.0: twice the rate of mma. Both operands are read from shared memory, where they lie without swizzle as
// [8 channels][row][16 bytes]: eight rows of 8 channels are 128 bytes in a run, free of bank conflicts, and a
// shift by one position for a tap is one by 16 bytes, which swizzled layouts do not allow. This file is
// compiled for sm_90a besides the architectures of the build (cmake/voxgrad.cmake).
#include "kernels/common/ptx/warpgroup.cuh"
#include "kernels/conv3d/conv3d_gemm.cuh"

namespace vg::kernels::cuda {

namespace {

template <int Columns>
struct Tile : GemmBlock<3, Columns, true> {
  using Block = GemmBlock<3, Columns, true>;
  static constexpr int rows = Block::rows, row_bytes = 16, eight_rows = 8 * row_bytes;
  static constexpr int warp_pitch = 16;  ///< positions of a warp, in every 64
  static constexpr int input_row_bytes = row_bytes;
  static __device__ __forceinline__ int input_place(int row, int chunk) {
    return (chunk * rows + row) * row_bytes;
  }

  // Weights lie as [8 input channels][column][4 words].
  static __device__ __forceinline__ GemmPackedWeight packed_weight(int place, int word) {
    return {gemm_channel(place % 32 / 8, place % 8), place / 32 * 8 + 2 * word};
  }
  static __device__ __forceinline__ int packed_place(int place, int of_outputs, int half) {
    return (half * 2 + place / 32) * Columns + of_outputs * 32 + place % 32;
  }

  struct Products {
    uint64_t input, weights;  ///< matrix descriptors of the first tiles

    __device__ __forceinline__ Products(uint32_t inputs, uint32_t of_weights)
        : input(ptx::matrix_descriptor(inputs, rows * row_bytes, eight_rows)),
          weights(ptx::matrix_descriptor(of_weights, Columns * row_bytes, eight_rows)) {}
    static __device__ __forceinline__ void before_barrier() { ptx::fence_async_proxy(); }
    static __device__ __forceinline__ void finish() { ptx::wait_products<0>(); }

    // sums += 32 channels of one tap, from the tiles at these distances in the rings. Returns when the
    // products of the step before are done, so that its places are free after the next barrier.
    __device__ __forceinline__ void multiply(typename Block::Sums& sums, int kw, uint32_t input_tile,
                                             uint32_t weight_tile) const {
      ptx::warpgroup_fence();
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint64_t b = ptx::advance_descriptor(weights, weight_tile + half * 2 * Columns * row_bytes);
#pragma unroll
        for (int i = 0; i < Block::fragment_rows; ++i) {
          const uint64_t a = ptx::advance_descriptor(
              input, input_tile + (half * 2 * rows + i * Block::fragment_pitch + kw) * row_bytes);
          if constexpr (Columns == 64) {
            ptx::warpgroup_mma_m64n64k16(sums[i], a, b);
          } else {
            ptx::warpgroup_mma_m64n128k16(sums[i], a, b);
          }
        }
      }
      ptx::commit_products();
      ptx::wait_products<1>();
    }
  };
};

void convolve(const GemmOperands& o, const Exec& exec) {
  require(cuda_limits().compute_capability == 90,
          "conv3d with warpgroup products: the device's compute capability is ",
          cuda_limits().compute_capability, ", expected 90");
  if (o.out.elements() == 0) return;
  if (o.out.c % 128 == 0) return launch_gemm<Tile<128>>(o, exec);
  launch_gemm<Tile<64>>(o, exec);
}

}  // namespace

void conv3d_forward_gemm_warpgroup(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                                   const float* bias, const Conv3dParams& params, const Exec& exec,
                                   int64_t pieces, const OutputStatistics* statistics) {
  convolve({y, statistics, x, weight, {params.in_channels * 27, 27, false}, bias, pieces}, exec);
}

void conv3d_backward_input_gemm_warpgroup(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                          const Conv3dParams& params, const Exec& exec, int64_t pieces) {
  convolve({dx, nullptr, dy, weight, {27, params.in_channels * 27, true}, nullptr, pieces}, exec);
}

}  // namespace vg::kernels::cuda
