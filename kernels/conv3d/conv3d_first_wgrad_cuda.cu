// Gradient of the weights of a convolution with kernel 3, stride 1 and padding 1 from up to 4 channels on
// tensor cores. For one (kd, kh) it is a matrix product over pairs of outputs (conv3d_first_tile.h): rows are
// the 4 voxels x 4 channels that a pair takes, columns the 2 x 16 channels of the pair's dy. A tap kw of the
// pair's first output is voxel kw of the four, of its second voxel kw + 1: both sums are added at the end. A
// block marches along D over a tile of voxels; a warp takes one kd and all kh. Each block leaves its sums in
// scratch memory; a second pass adds them in order.
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_first.cuh"
#include "kernels/conv3d/conv3d_norm_gradient.cuh"

namespace vg::kernels::cuda {

namespace {

using Tile = FirstWgradTile;
constexpr int rows = Tile::rows, threads = Tile::threads, x_ring = Tile::x_ring, dy_ring = Tile::dy_ring,
              fragments = 2 * Tile::out_channels / 8;

using Sums = float[3][fragments][4];  // [kh][fragment of 8 columns: voxel of the pair, half of the channels]

// Copies one plane of dy after another: the 16 channels of the block, 32 bytes a voxel. A thread keeps its
// column.
class GradientCopy {
 public:
  __device__ GradientCopy(const View<const bfloat16>& dy, int64_t n, int h, int w, int64_t channel)
      : stride_d_(dy.stride_d), step_(rows_at_once * dy.stride_h) {
    const int thread = static_cast<int>(threadIdx.x), voxel = thread % row_copies / 2, half = thread % 2,
              of_w = w - 1 + voxel;
    row_ = thread / row_copies;
    const bool column_inside = of_w >= 0 && of_w < dy.w;
    rows_inside_ = column_inside ? static_cast<int>(dy.h) - h : 0;
    source_ = dy.at(n, 0, h + row_, of_w) + channel + half * 8;
    target_ = static_cast<uint32_t>(Tile::dy_offset(row_, voxel / 2, voxel % 2 * 2 + half));
  }
  /// Starts the copies of plane d, which lies inside, of a view that lies so many elements further on.
  template <class Distance = int>
  __device__ __forceinline__ void operator()(uint32_t plane, int d, Distance distance = 0) const {
    const bfloat16* source = source_ + static_cast<uint32_t>(d) * stride_d_ + distance;
#pragma unroll
    for (int row = 0; row < Tile::height; row += rows_at_once, source += step_) {
      if (row + rows_at_once <= Tile::height || row + row_ < Tile::height)
        ptx::copy_16_async(plane + target_ + row * Tile::dy_row_bytes, source, row + row_ < rows_inside_);
    }
  }

  /// Makes what this thread has copied to `plane` the gradient of a norm's input, copied to `of_x`.
  __device__ __forceinline__ void make(const NormGradientTable<Tile::out_channels>& table, uint32_t plane,
                                       uint32_t of_x) const {
    const uint32_t end = plane + min(rows_inside_, Tile::height) * Tile::dy_row_bytes;
    of_x -= plane;
#pragma unroll 1
    for (uint32_t at = plane + target_; at < end; at += rows_at_once * Tile::dy_row_bytes)
      table.apply(static_cast<int>(threadIdx.x) % 2, at, at + of_x, nullptr);
  }

 private:
  static constexpr int row_copies = Tile::width * 2, rows_at_once = threads / row_copies;
  static_assert(threads % row_copies == 0);
  int64_t stride_d_, step_;
  int row_, rows_inside_;
  const bfloat16* source_;
  uint32_t target_;
};

// sums += one plane of dy times one plane of x. Rows r, r + 1, r + 2 of x stay in registers as r advances.
__device__ __forceinline__ void multiply_plane(Sums& sums, uint32_t x, uint32_t dy, uint32_t dy_second) {
  uint32_t a[3][4];
#pragma unroll
  for (int row = 0; row < 2; ++row) ptx::load_matrix_x4_transposed(a[row], x + row * Tile::row_bytes);
#pragma unroll
  for (int row = 0; row < rows; ++row) {
    uint32_t b[2][4];
    ptx::load_matrix_x4_transposed(b[0], dy + row * Tile::dy_row_bytes);
    ptx::load_matrix_x4_transposed(b[1], dy_second + row * Tile::dy_row_bytes);
    ptx::load_matrix_x4_transposed(a[(row + 2) % 3], x + (row + 2) * Tile::row_bytes);
#pragma unroll
    for (int kh = 0; kh < 3; ++kh) {
#pragma unroll
      for (int j = 0; j < fragments; ++j)
        ptx::mma_m16n8k16(sums[kh][j], a[(row + kh) % 3], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }
}

// Adds the sums of the parts of the tile and of both voxels of a pair in order, in shared memory as [output
// channel][input channel][27], and stores them to the block's part of the partial gradient.
__device__ __forceinline__ void store_sums(float* partial, float* shared, const Sums& sums, int kd, int part,
                                           int in_channels) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4;
#pragma unroll
  for (int turn = 0; turn < 2 * Tile::warps_w; ++turn) {
    __syncthreads();
    if (part != turn / 2) continue;
    const int voxel = turn % 2;
#pragma unroll
    for (int kh = 0; kh < 3; ++kh) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int row = g + i / 2 % 2 * 8, kw = row / 4 - voxel, in = row % 4,
                  out = i / 4 * 8 + 2 * q + i % 2;
        if (kw < 0 || kw >= 3 || in >= in_channels) continue;
        float& sum = shared[(out * in_channels + in) * 27 + kd * 9 + kh * 3 + kw];
        sum = sums[kh][voxel * 2 + i / 4][i % 4] + (turn == 0 ? 0.0f : sum);
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < Tile::out_channels * in_channels * 27; i += threads)
    partial[i] = shared[i];
}

// With `Made`, dy is made as it is read.
template <bool Made>
__global__ void __launch_bounds__(threads, 2)
    first_wgrad_kernel(float* partials, View<const bfloat16> dy, View<const bfloat16> x, int in_channels,
                       HaloGrid grid, NormGradientSource source) {
  __shared__ __align__(
      128) unsigned char shared_memory[Made ? Tile::shared_bytes_of_gradient : Tile::shared_bytes];
  const uint32_t x_planes = ptx::shared_address(shared_memory),
                 dy_planes = x_planes + x_ring * Tile::x_plane_bytes,
                 source_plane = dy_planes + dy_ring * Tile::dy_plane_bytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, kd = thread / 32 % 3,
            part = thread / 32 / 3;
  const HaloPosition at = halo_position(grid, Tile::height, Tile::width, dy.d);
  const int64_t out_first = at.group * Tile::out_channels;
  partials += (blockIdx.x / grid.groups * dy.c + out_first) * in_channels * 27;

  const FirstCopy<threads, Tile::input_rows> copy_x_plane(x, at.n, at.h - 1, first_layer_chunk(at.w));
  const GradientCopy copy_dy_plane(dy, at.n, at.h, at.w, out_first);
  const auto copy_x = [&](int i) { copy_x_plane(x_planes + i % x_ring * Tile::x_plane_bytes, at.d - 1 + i); };
  const auto copy_dy = [&](uint32_t plane, int i) {
    copy_dy_plane(plane, at.d + i);
    if constexpr (Made) copy_dy_plane(source_plane, at.d + i, source.x_distance);
  };
#pragma unroll 1
  for (int i = 0; i < 3; ++i) copy_x(i);
  copy_dy(dy_planes, 0);
  ptx::commit_copies();
  using Table = NormGradientTable<Tile::out_channels>;
  __shared__ __align__(16) float floats[Made ? Table::floats : 1];
  const std::conditional_t<Made, Table, NoNorm> table(floats, source, at.n, out_first);
  if constexpr (Made) __syncthreads();

  // Both operands lie in memory as rows of pairs and are transposed on the way. Fragments of A want the
  // matrices (pairs of row h; first two voxels, second two), (pairs of row h + rows; the same), those of B
  // (first 8 channels of a voxel; pairs of row h, h + rows), (second 8; the same).
  const uint32_t x_lane = Tile::pair_offset(lane / 16 * rows, part * 8 + lane % 8 + lane / 8 % 2),
                 dy_lane = Tile::dy_offset(lane / 8 % 2 * rows, part * 8 + lane % 8, lane / 16),
                 dy_second = Tile::dy_offset(lane / 8 % 2 * rows, part * 8 + lane % 8, 2 + lane / 16);
  Sums sums = {};
  static_assert(dy_ring == 2);
  uint32_t dy_plane = dy_planes, dy_next = dy_planes + Tile::dy_plane_bytes;
#pragma unroll 1
  for (int i = 0; i < at.march; ++i) {
    ptx::wait_copies<0>();
    if constexpr (Made) copy_dy_plane.make(table, dy_plane, source_plane);
    __syncthreads();  // the copies are there, and the planes that the next ones replace are done with
    if (i + 1 < at.march) {
      copy_x(i + 3);
      copy_dy(dy_next, i + 1);
    }
    ptx::commit_copies();
    multiply_plane(sums, x_planes + x_lane + static_cast<uint32_t>(i + kd) % x_ring * Tile::x_plane_bytes,
                   dy_plane + dy_lane, dy_plane + dy_second);
    const uint32_t done = dy_plane;
    dy_plane = dy_next, dy_next = done;
  }
  ptx::wait_copies<0>();
  store_sums(partials, reinterpret_cast<float*>(shared_memory), sums, kd, part, in_channels);
}

}  // namespace

void conv3d_backward_weight_first_layer(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                        int multiprocessors, const Exec& exec,
                                        const NormInputGradient* source) {
  if (dy.elements() == 0) return;
  WorkspaceScope scope(*exec.workspace);
  const View<const bfloat16> in = first_layer_input(x, scope, exec);
  const HaloGrid grid = first_layer_grid(Tile::height, dy, multiprocessors);
  const int64_t count = dy.c * x.c * 27, pieces = grid.blocks() / grid.groups;
  float* const partials = scope.allocate<float>(static_cast<size_t>(pieces * count));
  const auto kernel = source != nullptr ? first_wgrad_kernel<true> : first_wgrad_kernel<false>;
  kernel<<<blocks_for(grid.blocks(), 1), threads, 0, stream_of(exec)>>>(
      partials, dy, in, static_cast<int>(x.c), grid,
      source != nullptr ? norm_gradient_source(*source, {}) : NormGradientSource{});
  check_launch();
  accumulate_pieces(dweight, partials, count, pieces, exec);
}

}  // namespace vg::kernels::cuda
