// Convolution of stride 1 that keeps the extents (kernel 3, padding 1; kernel 1) as a matrix product on
// tensor cores, for channels beyond what the halo tiles take: positions (conv3d_gemm_tile.h) are the rows,
// output channels the columns, taps and input channels the sum. A block gathers a tile of the input for one
// (kd, kh) and 32 channels and takes the three taps kw from it. Where positions are few the sum is cut into
// pieces, whose partial results a second pass adds in order. The gradient with respect to the input is the
// same kernel with flipped and transposed weights.
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/conv3d/conv3d_gemm.cuh"

namespace vg::kernels::cuda {

namespace {

template <int KernelSize, int Columns>
struct Tile : GemmBlock<KernelSize, Columns, false> {
  using Block = GemmBlock<KernelSize, Columns, false>;
  static constexpr int fragment_rows = Block::fragment_rows, fragments = Block::fragments;
  static constexpr int warp_pitch = 64;       ///< positions of a warp
  static constexpr int input_row_bytes = 64;  ///< rows of 32 channels, swizzled
  static __device__ __forceinline__ int input_place(int row, int chunk) { return gemm_offset(4, row, chunk); }

  // Weights of 16 input channels lie as [pair of fragments][lane][4 words]: b0, b1 of the first fragment, b0,
  // b1 of the second.
  static __device__ __forceinline__ GemmPackedWeight packed_weight(int place, int word) {
    const int lane = place % 32;
    return {gemm_channel(place / 32 * 2 + word / 2, lane / 4), 2 * (lane % 4) + word % 2 * 8};
  }
  static __device__ __forceinline__ int packed_place(int place, int of_outputs, int half) {
    return (half * (fragments / 2) + of_outputs * 2) * 32 + place;
  }

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

// A thread adds the pieces of 8 channels of a voxel, in order.
__global__ void __launch_bounds__(block_threads, 4) add_pieces_kernel(GemmProduct p) {
  const int64_t index = thread_index() * 8, channels = gemm_partial_channels(p.out.c),
                voxel = index / channels, channel = index % channels, count = p.out.voxels() * channels;
  if (index >= count || channel >= p.out.c) return;
  const float* from = p.partials + voxel * channels + gemm_partial_offset(channel);
  auto sums = Lanes<8>::all(0);
  for (int64_t piece = 0; piece < p.pieces; ++piece, from += count) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const auto values = Lanes<4>::load_constant(from + half * 16);
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[half * 4 + i] += values[i];
    }
  }
  gemm_store_channels(cuda::voxel(p.out, voxel) + channel, sums,
                      p.bias == nullptr ? nullptr : p.bias + channel);
}

void convolve(const View<bfloat16>& out, const View<const bfloat16>& in, const float* weight,
              const GemmWeightOrder& order, const float* bias, int kernel_size, const Exec& exec,
              int64_t pieces) {
  if (out.elements() == 0) return;
  const auto with = [&]<int KernelSize>() {
    if (out.c <= 32) return launch_gemm<Tile<KernelSize, 32>>(out, in, weight, order, bias, exec, pieces);
    launch_gemm<Tile<KernelSize, 64>>(out, in, weight, order, bias, exec, pieces);
  };
  if (kernel_size == 3) return with.template operator()<3>();
  with.template operator()<1>();
}

int64_t volume(const Conv3dParams& p) {
  return int64_t{p.kernel_size} * p.kernel_size * p.kernel_size;
}

}  // namespace

void gemm_add_pieces(const GemmProduct& product, const Exec& exec) {
  const int64_t partials = product.out.voxels() * gemm_partial_channels(product.out.c);
  add_pieces_kernel<<<blocks_for(partials / 8), block_threads, 0, stream_of(exec)>>>(product);
  check_launch();
}

void conv3d_forward_gemm(View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias,
                         const Conv3dParams& params, const Exec& exec, int64_t pieces) {
  convolve(y, x, weight, {params.in_channels * volume(params), volume(params), false}, bias,
           params.kernel_size, exec, pieces);
}

void conv3d_backward_input_gemm(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                const Conv3dParams& params, const Exec& exec, int64_t pieces) {
  convolve(dx, dy, weight, {volume(params), params.in_channels * volume(params), true}, nullptr,
           params.kernel_size, exec, pieces);
}

}  // namespace vg::kernels::cuda
