// Convolution with kernel 3, stride 1 and padding 1 from up to 4 channels on tensor cores: a network's first
// layer, bound by memory. A block marches along D over a tile of outputs with the planes of its input in
// shared memory. Rows of the matrix products are pairs of outputs (conv3d_first_tile.h), so that four
// neighbouring voxels of 4 channels are the 16 columns; a fragment of the input serves the taps kh = 0, 1, 2
// of output rows r, r - 1, r - 2, as in conv3d_halo_cuda.cu.
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_first.cuh"

namespace vg::kernels::cuda {

namespace {

using Tile = FirstForwardTile;
constexpr int rows = Tile::rows, fragments = 2 * Tile::out_channels / 8, ring = Tile::ring,
              kd_words = Tile::weight_bytes / 4 / 3;

// --- The input ---------------------------------------------------------------------------------------------

bool is_first_layer_input(const View<const bfloat16>& x) {
  const auto aligned = [](int64_t extent, int64_t stride) { return extent == 1 || stride % 8 == 0; };
  return x.c == Tile::channels && x.stride_w == Tile::channels && x.w % 2 == 0 &&
         reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && aligned(x.h, x.stride_h) &&
         aligned(x.d, x.stride_d) && aligned(x.n, x.stride_n);
}

// A thread a chunk.
__global__ void __launch_bounds__(block_threads)
    pad_kernel(bfloat16* to, View<const bfloat16> from, int64_t row_chunks, int64_t count) {
  const int64_t i = thread_index();
  if (i >= count) return;
  const int64_t w = i % row_chunks * 2;
  const bfloat16* const voxel = from.row(i / row_chunks) + w * from.stride_w;
  uint32_t words[4];
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    uint32_t bits = 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int channel = word % 2 * 2 + half;
      if (channel < from.c && w + word / 2 < from.w)
        bits |= uint32_t{voxel[word / 2 * from.stride_w + channel].bits} << 16 * half;
    }
    words[word] = bits;
  }
  ptx::store_global_16(to + i * 8, words[0], words[1], words[2], words[3]);
}

// --- Weights -----------------------------------------------------------------------------------------------

// packed[group of output channels][kd][kh][2 fragments of 8 columns][lane][4] of two bfloat16 each: b0, b1 of
// the first fragment, b0, b1 of the second, so that a lane takes what it needs with loads of 16 bytes.
__global__ void pack_first_kernel(uint32_t* packed, const float* weight, int in_channels, int64_t count) {
  const int64_t i = thread_index();
  if (i >= count) return;
  const int word = static_cast<int>(i % 4), lane = static_cast<int>(i / 4 % 32), g = lane / 4, q = lane % 4,
            fragment = static_cast<int>(i / 128 % 2) * 2 + word / 2, plane = static_cast<int>(i / 256 % 9);
  const int64_t output = i / (256 * 9) * Tile::out_channels + Tile::channel(fragment, g);
  // Of a window of 4 voxels, 4 channels each; the tap that voxel is for this output of the pair.
  const int column = 2 * q + word % 2 * 8, kw = column / 4 - Tile::voxel(g), channel = column % 4;
  const auto value = [&](int c) {
    const bool used = kw >= 0 && kw < 3 && c < in_channels;
    return used ? weight[(output * in_channels + c) * 27 + plane * 3 + kw] : 0.0f;
  };
  packed[i] = ptx::pack_bfloat16(value(channel), value(channel + 1));
}

// --- Products ----------------------------------------------------------------------------------------------

using Sums = float[rows][fragments][4];
constexpr int moment_lanes = 2;  // lane % 2: which half of the channels

// sums += the nine taps of one plane. `input` is the lane's address for ldmatrix in the plane's first row,
// `weights` that of its weights of this kd.
__device__ __forceinline__ void multiply_plane(Sums& sums, uint32_t input, uint32_t weights) {
  uint32_t b[3][fragments / 2][4];
#pragma unroll
  for (int kh = 0; kh < 3; ++kh) {
#pragma unroll
    for (int j = 0; j < fragments / 2; ++j)
      ptx::load_shared_16(b[kh][j], weights + (kh * (fragments / 2) + j) * 512);
  }
#pragma unroll
  for (int row = 0; row < rows + 2; ++row) {
    uint32_t a[4];
    ptx::load_matrix_x4(a, input + row * Tile::row_bytes);
#pragma unroll
    for (int kh = 0; kh < 3; ++kh) {
      if (row - kh < 0 || row - kh >= rows) continue;
#pragma unroll
      for (int j = 0; j < fragments; ++j)
        ptx::mma_m16n8k16(sums[row - kh][j], a, b[kh][j / 2][j % 2 * 2], b[kh][j / 2][j % 2 * 2 + 1]);
    }
  }
}

// Stores the lane's 8 channels of the voxels (h + row, w) and, from the fragments' lower halves, (h + rows +
// row, w) that lie inside. A warp stores 16 neighbouring voxels at a time. With `Moments`, adds the moments
// of what it stores to `totals`: lanes of one parity hold the same channels.
template <bool Moments>
__device__ __forceinline__ void store_sums(float (&totals)[1], const View<bfloat16>& out, const Sums& sums,
                                           int64_t n, int d, int h, int w, int64_t channel) {
  LaneMoments<8> moments;
  if (w >= 0 && w < out.w) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int row = 0; row < rows; ++row) {
        const int of_row = h + half * rows + row;
        if (of_row >= out.h) continue;
        store_voxel(out.at(n, d, of_row, w) + channel, sums[row], half);
        if constexpr (Moments) moments.add_voxel(sums[row], half);
      }
    }
  }
  if constexpr (Moments) add_lanes<moment_lanes>(totals, moments);
}

// With `Moments`, `moments` receives a piece from each block.
template <bool Moments>
__global__ void __launch_bounds__(Tile::threads, 3)
    first_kernel(View<bfloat16> out, float* moments, View<const bfloat16> in, const uint32_t* packed,
                 const float* bias, HaloGrid grid) {
  __shared__ __align__(128) unsigned char shared_memory[Tile::shared_bytes];
  const uint32_t planes = ptx::shared_address(shared_memory), weights = planes + ring * Tile::plane_bytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, g = lane / 4, q = lane % 4;
  const int warp_h = thread / 32 / Tile::warps_w * 2 * rows, warp_pair = thread / 32 % Tile::warps_w * 8;
  const HaloPosition at = halo_position(grid, Tile::height, Tile::width, out.d);
  const int64_t channel = at.group * Tile::out_channels + q % 2 * 8;

  const FirstCopy<Tile::threads, Tile::input_rows> copy(in, at.n, at.h - 1, first_layer_chunk(at.w));
  copy_weights<Tile::threads, Tile::weight_bytes>(weights, packed + at.group * (3 * kd_words));
#pragma unroll 1
  for (int i = 0; i < 3; ++i) copy(planes + i * Tile::plane_bytes, at.d - 1 + i);
  ptx::commit_copies();

  // Lanes 0-7 and 8-15 give ldmatrix the pairs of the upper and the lower row, first two voxels; the others
  // the second two.
  const uint32_t input =
      planes + Tile::pair_offset(warp_h + lane / 8 % 2 * rows, warp_pair + lane % 8 + lane / 16);
  float start[2 * fragments] = {}, totals[1] = {};
  if (bias != nullptr) {
#pragma unroll
    for (int c = 0; c < 2 * fragments; ++c) start[c] = bias[channel + c];
  }
#pragma unroll 1
  for (int i = 0; i < at.march; ++i) {
    ptx::wait_copies<0>();
    __syncthreads();  // the copies are there, and the plane that the next one replaces is done with
    if (i + 1 < at.march) copy(planes + (i + 3) % ring * Tile::plane_bytes, at.d + i + 2);
    ptx::commit_copies();
    Sums sums;
    start_sums(sums, start);
#pragma unroll 1
    for (int kd = 0; kd < 3; ++kd)
      multiply_plane(sums, input + (i + kd) % ring * Tile::plane_bytes,
                     weights + kd * (kd_words * 4) + lane * 16);
    store_sums<Moments>(totals, out, sums, at.n, at.d + i, at.h + warp_h,
                        at.w - 1 + 2 * (warp_pair + g) + q / 2, channel);
  }
  if constexpr (Moments) {
    const int64_t first_channel = at.group * Tile::out_channels;
    ptx::wait_copies<0>();
    store_moments<Tile::threads / 32, 1, moment_lanes>(
        moments + (blockIdx.x / grid.groups * out.c + first_channel) * 2,
        reinterpret_cast<float*>(shared_memory), totals, Tile::out_channels);
  }
}

template <bool Moments>
void launch(const View<bfloat16>& y, const OutputStatistics* statistics, const View<const bfloat16>& in,
            const uint32_t* packed, const float* bias, int multiprocessors, WorkspaceScope& scope,
            const Exec& exec) {
  const HaloGrid grid = first_layer_grid(Tile::height, y, multiprocessors);
  const int64_t pieces = grid.blocks() / grid.groups;
  float* const moments = Moments ? allocate_moments(scope, pieces, y.c) : nullptr;
  first_kernel<Moments><<<blocks_for(grid.blocks(), 1), Tile::threads, 0, stream_of(exec)>>>(
      y, moments, in, packed, bias, grid);
  check_launch();
  if (Moments) finish_statistics(*statistics, moments, pieces, y, exec);
}

}  // namespace

View<const bfloat16> first_layer_input(const View<const bfloat16>& x, WorkspaceScope& scope,
                                       const Exec& exec) {
  constexpr int pair = 2 * Tile::channels;
  if (is_first_layer_input(x)) {
    View<const bfloat16> chunks = x;
    chunks.w /= 2, chunks.c = chunks.stride_w = pair;
    return chunks;
  }
  const int64_t row_chunks = (x.w + 1) / 2, count = x.rows() * row_chunks;
  bfloat16* const copy = scope.allocate<bfloat16>(static_cast<size_t>(count * pair));
  pad_kernel<<<blocks_for(count), block_threads, 0, stream_of(exec)>>>(copy, x, row_chunks, count);
  check_launch();
  return contiguous_view<const bfloat16>(copy, x.n, x.d, x.h, row_chunks, pair);
}

void conv3d_forward_first_layer(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                                const float* bias, int multiprocessors, const Exec& exec,
                                const OutputStatistics* statistics) {
  if (y.elements() == 0) return;
  WorkspaceScope scope(*exec.workspace);
  const View<const bfloat16> in = first_layer_input(x, scope, exec);
  const int64_t words = y.c / Tile::out_channels * (3 * kd_words);
  uint32_t* const packed = scope.allocate<uint32_t>(static_cast<size_t>(words));
  pack_first_kernel<<<blocks_for(words), block_threads, 0, stream_of(exec)>>>(packed, weight,
                                                                              static_cast<int>(x.c), words);
  check_launch();
  if (statistics != nullptr)
    return launch<true>(y, statistics, in, packed, bias, multiprocessors, scope, exec);
  launch<false>(y, nullptr, in, packed, bias, multiprocessors, scope, exec);
}

}  // namespace vg::kernels::cuda
