// Convolution of stride 1 that keeps the extents (kernel 3, padding 1; kernel 1) as a matrix product on
// tensor cores, for channels beyond what the halo tiles take: positions (conv3d_gemm_tile.h) are the rows,
// output channels the columns, taps and input channels the sum. A block gathers a tile of the input for one
// (kd, kh) and 32 channels and takes the three taps kw from it. Where positions are few the sum is cut into
// pieces, which other blocks compute and add in pairs. The gradient with respect to the input is the same
// kernel with flipped and transposed weights.
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/conv3d/conv3d_gemm.cuh"

namespace vg::kernels::cuda {

namespace {

template <int KernelSize, int Columns>
struct Tile : GemmBlock<KernelSize, Columns, false>, GemmFragmentWeights<Columns> {
  using Block = GemmBlock<KernelSize, Columns, false>;
  static constexpr int fragment_rows = Block::fragment_rows, fragments = Block::fragments;
  static constexpr int warp_pitch = 64;       ///< positions of a warp
  static constexpr int input_row_bytes = 64;  ///< rows of 32 channels, swizzled
  static __device__ __forceinline__ int input_place(int row, int chunk) { return gemm_offset(4, row, chunk); }

  struct Products {
    uint32_t input[KernelSize], weights;  ///< the lane's addresses: for ldmatrix by kw, and of its fragments

    __device__ __forceinline__ Products(uint32_t inputs, uint32_t of_weights) {
      const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
      for (int kw = 0; kw < KernelSize; ++kw)
        input[kw] = inputs + gemm_offset(4, warp * warp_pitch + lane % 16 + kw, lane / 16);
      weights = of_weights + lane * 16;
    }
    static __device__ __forceinline__ void before_barrier() {}
    static __device__ __forceinline__ void finish() {}

    // sums += 32 channels of one tap, from the tiles at these distances in the rings.
    __device__ __forceinline__ void multiply(typename Block::Sums& sums, int kw, uint32_t input_tile,
                                             uint32_t weight_tile) const {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t a[fragment_rows][4], b[fragments / 2][4];
#pragma unroll
        for (int i = 0; i < fragment_rows; ++i)  // 16 rows on: the same swizzle
          ptx::load_matrix_x4(a[i], (input[kw] + input_tile ^ half << 5) + i * 16 * input_row_bytes);
#pragma unroll
        for (int pair = 0; pair < fragments / 2; ++pair)
          ptx::load_shared_16(b[pair], weights + weight_tile + (half * (fragments / 2) + pair) * 512);
#pragma unroll
        for (int i = 0; i < fragment_rows; ++i) {
#pragma unroll
          for (int j = 0; j < fragments; ++j)
            ptx::mma_m16n8k16(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
      }
    }
  };
};

void convolve(const GemmOperands& o, int kernel_size, const Exec& exec) {
  if (o.out.elements() == 0) return;
  if (kernel_size == 3 && GemmPlaneTile::suits(o.out.c, o.out.w)) return gemm_plane(o, exec);
  const auto with = [&]<int KernelSize>() {
    if (o.out.c <= 32) return launch_gemm<Tile<KernelSize, 32>>(o, exec);
    launch_gemm<Tile<KernelSize, 64>>(o, exec);
  };
  if (kernel_size == 3) return with.template operator()<3>();
  with.template operator()<1>();
}

int64_t volume(const Conv3dParams& p) {
  return int64_t{p.kernel_size} * p.kernel_size * p.kernel_size;
}

}  // namespace

void conv3d_forward_gemm(View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias,
                         const Conv3dParams& params, const Exec& exec, int64_t pieces,
                         const OutputStatistics* statistics) {
  const GemmWeightOrder order{params.in_channels * volume(params), volume(params), false};
  convolve({y, statistics, x, weight, order, bias, pieces}, params.kernel_size, exec);
}

void conv3d_backward_input_gemm(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                const Conv3dParams& params, const Exec& exec, int64_t pieces) {
  const GemmWeightOrder order{volume(params), params.in_channels * volume(params), true};
  convolve({dx, nullptr, dy, weight, order, nullptr, pieces}, params.kernel_size, exec);
}

}  // namespace vg::kernels::cuda
