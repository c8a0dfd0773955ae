// The transpose of the convolution with kernel 3, stride 2 and padding 1 on tensor cores: its gradient with
// respect to the input, and the forward pass of the transposed convolution. Along an axis coarse voxel m
// reaches the even fine voxel 2 m by tap 1, the odd one 2 m + 1 by tap 2, and 2 m - 1 by tap 0: fine voxels 2
// m and 2 m + 1 come from m and m + 1. All eight parities of fine voxels are computed in one pass: the
// fragments of the eight coarse neighbours m + {0, 1}^3 feed 27 products, one a tap. Two rows of fragments
// share each load of weights.
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_strided.cuh"

namespace vg::kernels::cuda {

namespace {

using Tile = StridedTransposedTile;
constexpr int rows = Tile::rows, channels = Tile::channels, fragments = Tile::out_channels / 8,
              threads = Tile::threads, plane_bytes = Tile::plane_bytes, row_bytes = Tile::row_bytes;

using Sums = float[rows][8][fragments][4];  // [row][parity of D, H, W][fragment of 8 channels]

// sums += the 27 taps of two planes of 16 channels. `inputs` are the lane's addresses for ldmatrix in the
// first row of the first plane, of the voxel and of its neighbour along W.
__device__ __forceinline__ void multiply_planes(Sums& sums, const uint32_t (&inputs)[2], uint32_t planes,
                                                uint32_t weights) {
#pragma unroll
  for (int plane = 0; plane < 2; ++plane) {
    uint32_t a[rows + 1][2][4];
#pragma unroll
    for (int row = 0; row <= rows; ++row) {
#pragma unroll
      for (int column = 0; column < 2; ++column)
        ptx::load_matrix_x4(a[row][column], inputs[column] + planes + plane * plane_bytes + row * row_bytes);
    }
#pragma unroll
    for (int tap = 0; tap < 27; ++tap) {
      const int kd = tap / 9, kh = tap / 3 % 3, kw = tap % 3;
      if ((kd == 0) != (plane == 1)) continue;  // tap 0 is that of the next plane
      const int parity = (kd != 1) * 4 + (kh != 1) * 2 + (kw != 1);
      uint32_t b[4];
      ptx::load_shared_16(b, weights + tap * 512);
#pragma unroll
      for (int row = 0; row < rows; ++row) {
        ptx::mma_m16n8k16(sums[row][parity][0], a[row + (kh == 0)][kw == 0], b[0], b[1]);
        ptx::mma_m16n8k16(sums[row][parity][1], a[row + (kh == 0)][kw == 0], b[2], b[3]);
      }
    }
  }
}

// The sums start at the bias of the lane's channels, or at zero.
__device__ __forceinline__ void start_sums(Sums& sums, const float* bias) {
#pragma unroll
  for (int j = 0; j < fragments; ++j) {
    const float even = bias != nullptr ? bias[2 * j] : 0.0f, odd = bias != nullptr ? bias[2 * j + 1] : 0.0f;
#pragma unroll
    for (int row = 0; row < rows; ++row) {
#pragma unroll
      for (int parity = 0; parity < 8; ++parity) {
        sums[row][parity][j][0] = sums[row][parity][j][2] = even;
        sums[row][parity][j][1] = sums[row][parity][j][3] = odd;
      }
    }
  }
}

// Adds to 4 neighbouring channels of a voxel, and rounds once.
__device__ __forceinline__ void add_to_voxel(bfloat16* to, const float (&sums)[fragments][4], int half) {
  static_assert(fragments == 2);
  uint32_t before[2], packed[2];
  ptx::load_global_8(before, to);
#pragma unroll
  for (int j = 0; j < fragments; ++j) {
    packed[j] = ptx::pack_bfloat16(ptx::low_bfloat16(before[j]) + sums[j][2 * half],
                                   ptx::high_bfloat16(before[j]) + sums[j][2 * half + 1]);
  }
  ptx::store_global_8(to, packed[0], packed[1]);
}

// Stores the lane's channels of the fine voxels of coarse voxels (d, h + row, w) and, from the fragments'
// lower halves, (d, h + rows + row, w) that lie inside. Four lanes store a voxel's channels: whole sectors.
// With `Moments`, adds the moments of what it stores to `totals`, see add_lanes().
// With `Add`, adds to what is there.
template <bool Moments, bool Add>
__device__ __forceinline__ void store_fine(float (&totals)[fragments / 2], const View<bfloat16>& out,
                                           const Sums& sums, int64_t n, int d, int h, int w,
                                           int64_t channel) {
  LaneMoments<2 * fragments> moments;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int row = 0; row < rows; ++row) {
#pragma unroll
      for (int parity = 0; parity < 8; ++parity) {
        const int fine_d = 2 * d + parity / 4, fine_h = 2 * (h + half * rows + row) + parity / 2 % 2,
                  fine_w = 2 * w + parity % 2;
        if (fine_d >= out.d || fine_h >= out.h || fine_w >= out.w) continue;
        bfloat16* const to = out.at(n, fine_d, fine_h, fine_w) + channel;
        if constexpr (Add) {
          add_to_voxel(to, sums[row][parity], half);
        } else {
          store_voxel(to, sums[row][parity], half);
        }
        if constexpr (Moments) moments.add_voxel(sums[row][parity], half);
      }
    }
  }
  if constexpr (Moments) add_lanes(totals, moments);
}

// With `Moments`, `moments` receives a piece from each block.
template <bool Moments, bool Add>
__global__ void __launch_bounds__(threads, 2)
    strided_transposed_kernel(View<bfloat16> out, float* moments, View<const bfloat16> in,
                              const uint32_t* packed, const float* bias, HaloGrid grid) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t planes = ptx::shared_address(shared_memory),
                 weights = planes + Tile::stages * 2 * plane_bytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp_h = thread / 32 * 2 * rows;
  const HaloPosition at = halo_position(grid, Tile::height, Tile::width, in.d);
  const int steps = static_cast<int>(in.c) / channels;
  const int64_t channel = at.group * Tile::out_channels + lane % 4 * (2 * fragments);
  packed += at.group * steps * (Tile::weight_bytes / 4);

  const PlaneCopy<threads, Tile::coarse_rows, Tile::coarse_columns, channels> copy_plane(
      in, at.n, at.h, [&](int entry) { return at.w + entry; });
  // Stages go through two places. With one or two of them for a plane of outputs, the weights stay.
  const auto weight_place = [&](int place, int step) { return steps <= 2 ? step : place; };
  const auto copy_stage = [&](int place, int i, int step) {
    for (int plane = 0; plane < 2; ++plane)
      copy_plane(planes + (2 * place + plane) * plane_bytes, at.d + i + plane, step * channels);
    if (steps > 2 || i == 0)
      copy_weights<threads, Tile::weight_bytes>(weights + weight_place(place, step) * Tile::weight_bytes,
                                                packed + step * (Tile::weight_bytes / 4));
    ptx::commit_copies();
  };
  copy_stage(0, 0, 0);

  uint32_t inputs[2];
#pragma unroll
  for (int column = 0; column < 2; ++column)
    inputs[column] = halo_offset(channels, Tile::coarse_columns, warp_h + lane / 8 % 2 * rows,
                                 lane % 8 + column, lane / 16);
  float totals[fragments / 2] = {};
  int place = 0;
#pragma unroll 1
  for (int i = 0; i < at.march; ++i) {
    Sums sums;
    start_sums(sums, bias == nullptr ? nullptr : bias + channel);
#pragma unroll 1
    for (int step = 0; step < steps; ++step, place ^= 1) {
      ptx::wait_copies<0>();
      __syncthreads();
      const bool last = step + 1 == steps;
      if (!last || i + 1 < at.march) copy_stage(place ^ 1, last ? i + 1 : i, last ? 0 : step + 1);
      multiply_planes(sums, inputs, planes + place * 2 * plane_bytes,
                      weights + weight_place(place, step) * Tile::weight_bytes + lane * 16);
    }
    store_fine<Moments, Add>(totals, out, sums, at.n, at.d + i, at.h + warp_h, at.w + lane / 4, channel);
  }
  if constexpr (Moments) {
    ptx::wait_copies<0>();
    store_moments<threads / 32, 1>(halo_moments(moments, grid, out.c, Tile::out_channels),
                                   reinterpret_cast<float*>(shared_memory), totals, Tile::out_channels);
  }
}

template <bool Moments, bool Add>
void launch(const View<bfloat16>& out, const OutputStatistics* statistics, const View<const bfloat16>& in,
            const float* weight, const float* bias, int multiprocessors, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const uint32_t* const packed =
      pack_strided_weights({weight, 27, out.c * 27}, out.c, in.c, Tile::out_channels, fragments, scope, exec);
  const auto kernel = strided_transposed_kernel<Moments, Add>;
  // More than 48 KiB must be asked for; strided_transposed_applies() has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::shared_bytes));
  const HaloGrid grid = halo_grid(Tile::height, Tile::width, out.c / Tile::out_channels, in, multiprocessors);
  const int64_t pieces = grid.blocks() / grid.groups;
  float* const moments = Moments ? allocate_moments(scope, pieces, out.c) : nullptr;
  kernel<<<blocks_for(grid.blocks(), 1), threads, Tile::shared_bytes, stream_of(exec)>>>(out, moments, in,
                                                                                         packed, bias, grid);
  check_launch();
  if (Moments) finish_statistics(*statistics, moments, pieces, out, exec);
}

}  // namespace

void conv3d_backward_input_strided(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                   const float* bias, int multiprocessors, const Exec& exec,
                                   const OutputStatistics* statistics) {
  if (dx.elements() == 0) return;
  if (statistics != nullptr)
    return launch<true, false>(dx, statistics, dy, weight, bias, multiprocessors, exec);
  launch<false, false>(dx, nullptr, dy, weight, bias, multiprocessors, exec);
}

void conv3d_add_backward_input_strided(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                       int multiprocessors, const Exec& exec) {
  if (dx.elements() == 0) return;
  launch<false, true>(dx, nullptr, dy, weight, nullptr, multiprocessors, exec);
}

}  // namespace vg::kernels::cuda
