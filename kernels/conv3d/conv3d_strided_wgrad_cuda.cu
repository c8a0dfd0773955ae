// Gradient of the weights of a convolution with kernel 3, stride 2 and padding 1 on tensor cores, and that of
// the transposed convolution, in which x and dy change places. For one tap it is a matrix product over coarse
// voxels: dw[c][f] = sum over v of coarse[v][c] fine[2 v - 1 + tap][f]. A block marches along D over a tile
// of coarse voxels; a warp takes one kw and all nine (kd, kh) of 16 fine and 16 coarse channels. It keeps the
// fragments of a coarse plane in registers for the three fine planes around it, and fine row 2 r + 2 for the
// coarse rows r and r + 1. Each block leaves its sums in scratch memory; a second pass adds them in order.
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_strided.cuh"

namespace vg::kernels::cuda {

namespace {

template <int Blocks>
struct Tile {
  static constexpr StridedWgradTile shape{{}, Blocks};
  static constexpr int rows = shape.rows(), parts = shape.parts(), coarse_channels = shape.coarse_channels(),
                       coarse_row_bytes = shape.coarse_row_bytes(), shared_bytes = shape.shared_bytes();
};
constexpr int threads = StridedWgradTile::threads, channels = StridedTile::channels,
              height = StridedTile::height, width = StridedTile::width, ring = StridedWgradTile::ring,
              fine_row_bytes = StridedTile::fine_row_bytes, fine_plane_bytes = StridedTile::fine_plane_bytes,
              sums_pitch = StridedWgradTile::sums_pitch;

// sums += the coarse plane, in registers, times one plane of the fine side. `fine` is the lane's address for
// ldmatrix in the first row.
template <int Rows>
__device__ __forceinline__ void multiply_plane(float (&sums)[3][2][4], const uint32_t (&b)[Rows][4],
                                               uint32_t fine) {
  uint32_t a[3][4];
  ptx::load_matrix_x4_transposed(a[0], fine);
#pragma unroll
  for (int row = 0; row < Rows; ++row) {
#pragma unroll
    for (int kh = 1; kh < 3; ++kh)
      ptx::load_matrix_x4_transposed(a[(2 * row + kh) % 3], fine + (2 * row + kh) * fine_row_bytes);
#pragma unroll
    for (int kh = 0; kh < 3; ++kh) {
      ptx::mma_m16n8k16(sums[kh][0], a[(2 * row + kh) % 3], b[row][0], b[row][1]);
      ptx::mma_m16n8k16(sums[kh][1], a[(2 * row + kh) % 3], b[row][2], b[row][3]);
    }
  }
}

// Adds the sums of the parts of the tile in order, in shared memory as [coarse channel][fine channel][27]
// with `sums_pitch` floats for a coarse channel, and stores them to the block's part of the partial gradient.
template <int Blocks>
__device__ __forceinline__ void store_sums(float* partial, float* shared, const float (&sums)[3][3][2][4],
                                           int kw, int block, int part, int64_t fine_channels) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4;
  for (int turn = 0; turn < Tile<Blocks>::parts; ++turn) {
    __syncthreads();
    if (part != turn) continue;
#pragma unroll
    for (int kdh = 0; kdh < 9; ++kdh) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int fine = g + i / 2 % 2 * 8, coarse = block * 16 + i / 4 * 8 + 2 * q + i % 2;
        float& sum = shared[coarse * sums_pitch + fine * 27 + kdh * 3 + kw];
        sum = sums[kdh / 3][kdh % 3][i / 4][i % 4] + (turn == 0 ? 0.0f : sum);
      }
    }
  }
  __syncthreads();
  constexpr int run = channels * 27;
  for (int i = static_cast<int>(threadIdx.x); i < 16 * Blocks * run; i += threads)
    partial[i / run * fine_channels * 27 + i % run] = shared[i / run * sums_pitch + i % run];
}

// With `Norm`, the norm is applied to the fine side.
template <int Blocks, bool Norm>
__global__ void __launch_bounds__(threads, 2)
    strided_wgrad_kernel(float* partials, View<const bfloat16> coarse, View<const bfloat16> fine,
                         HaloGrid grid, NormArguments norm_of_fine) {
  using T = Tile<Blocks>;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t fine_planes = ptx::shared_address(shared_memory),
                 coarse_plane = fine_planes + ring * fine_plane_bytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, kw = thread / 32 % 3,
            block = thread / 32 / 3 % Blocks, part = thread / 32 / 3 / Blocks, part_h = part * 2 * T::rows;
  const HaloPosition at = halo_position(grid, height, width, coarse.d);
  const int64_t fine_first = at.group % (fine.c / channels) * channels,
                coarse_first = at.group / (fine.c / channels) * T::coarse_channels;
  partials += blockIdx.x / grid.groups * (coarse.c * fine.c * 27) + (coarse_first * fine.c + fine_first) * 27;

  const PlaneCopy<threads, StridedTile::fine_rows, StridedTile::fine_columns, channels> copy_fine_plane(
      fine, at.n, 2 * at.h - 1, [&](int entry) { return 2 * at.w - 1 + StridedTile::column(entry); });
  const PlaneCopy<threads, height, width, T::coarse_channels> copy_coarse_plane(
      coarse, at.n, at.h, [&](int entry) { return at.w + entry; });
  const auto copy_fine = [&](uint32_t place, int i) {
    copy_fine_plane(place, 2 * at.d - 1 + i, static_cast<int>(fine_first));
  };
  const auto copy_coarse = [&](int i) {
    copy_coarse_plane(coarse_plane, at.d + i, static_cast<int>(coarse_first));
  };
  copy_coarse(0);
#pragma unroll 1
  for (int i = 0; i < ring; ++i) {
    copy_fine(fine_planes + i * fine_plane_bytes, i);
    ptx::commit_copies();
  }
  using Table = NormTable<channels>;
  __shared__ __align__(16) float norm_floats[Norm ? Table::floats : 1];
  const std::conditional_t<Norm, Table, NoNorm> norm(norm_floats, norm_of_fine, at.n, fine_first);
  if constexpr (Norm) __syncthreads();

  // Both operands lie in memory as rows of channels and are transposed on the way. Fragments of A want the
  // matrices (voxels of row h; channels 0-7, 8-15), (voxels of row h + rows; the same), those of B (channels
  // 0-7; voxels of row h, h + rows), (channels 8-15; the same).
  const uint32_t fine_lane =
                     halo_offset(channels, StridedTile::fine_columns, 2 * (part_h + lane / 16 * T::rows),
                                 StridedTile::entry(2 * (lane % 8) + kw), lane / 8 % 2),
                 coarse_lane =
                     coarse_plane + halo_offset(T::coarse_channels, width, part_h + lane / 8 % 2 * T::rows,
                                                lane % 8, 2 * block + lane / 16);
  static_assert(ring == 3);
  // Where planes 2 i, 2 i + 1 and 2 i + 2 lie.
  uint32_t places[3] = {fine_planes, fine_planes + fine_plane_bytes, fine_planes + 2 * fine_plane_bytes};
  float sums[3][3][2][4] = {};  // [kd][kh][fragment of 8 coarse channels]
#pragma unroll 1
  for (int i = 0; i < at.march; ++i) {
    uint32_t b[T::rows][4];
#pragma unroll
    for (int kd = 0; kd < 3; ++kd) {
      ptx::wait_copies<1>();
      if constexpr (Norm) {
        // Plane 2 i is the plane 2 (i - 1) + 2 of the coarse plane before.
        if (kd > 0 || i == 0)
          copy_fine_plane.template normalise<1>(norm, places[kd], 2 * (at.d + i) - 1 + kd, 0);
      }
      __syncthreads();
      // Planes 2 i and 2 i + 1, and the coarse one, are done with after their turn; plane 2 i + 2 is the
      // next coarse plane's first.
      if (i + 1 < at.march) {
        if (kd == 1) copy_coarse(i + 1);
        if (kd > 0) copy_fine(places[kd - 1], 2 * i + 2 + kd);
      }
      ptx::commit_copies();
      if (kd == 0) {
#pragma unroll
        for (int row = 0; row < T::rows; ++row)
          ptx::load_matrix_x4_transposed(b[row], coarse_lane + row * T::coarse_row_bytes);
      }
      multiply_plane(sums[kd], b, places[kd] + fine_lane);
    }
    const uint32_t first = places[2];
    places[2] = places[1], places[1] = places[0], places[0] = first;
  }
  ptx::wait_copies<0>();
  store_sums<Blocks>(partials, reinterpret_cast<float*>(shared_memory), sums, kw, block, part, fine.c);
}

template <int Blocks, bool Norm>
void launch(float* dweight, const View<const bfloat16>& coarse, const View<const bfloat16>& fine,
            int multiprocessors, const Exec& exec, const NormArguments& norm) {
  using T = Tile<Blocks>;
  const HaloGrid grid =
      halo_grid(height, width, fine.c / channels * (coarse.c / T::coarse_channels), coarse, multiprocessors);
  const int64_t count = coarse.c * fine.c * 27, pieces = grid.blocks() / grid.groups;
  WorkspaceScope scope(*exec.workspace);
  float* const partials = scope.allocate<float>(static_cast<size_t>(pieces * count));
  // More than 48 KiB must be asked for; strided_wgrad_applies() has seen that the device has it.
  const auto kernel = strided_wgrad_kernel<Blocks, Norm>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, T::shared_bytes));
  kernel<<<blocks_for(grid.blocks(), 1), threads, T::shared_bytes, stream_of(exec)>>>(partials, coarse, fine,
                                                                                      grid, norm);
  check_launch();
  accumulate_pieces(dweight, partials, count, pieces, exec);
}

}  // namespace

// A tile of 16 coarse channels has too few products to hide the norm behind.
bool strided_wgrad_norm_applies(const InputNorm& norm, int64_t out_channels) {
  return out_channels % 32 == 0 && input_norm_applies(norm);
}

void conv3d_backward_weight_strided(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                    int multiprocessors, const Exec& exec, const InputNorm* norm) {
  require(
      norm == nullptr || strided_wgrad_norm_applies(*norm, dy.c),
      "gradient of conv3d's weights on tensor cores: a norm of the input needs one slope and a multiple of "
      "32 output channels");
  if (dy.elements() == 0) return;
  if (norm != nullptr)
    return launch<2, true>(dweight, dy, x, multiprocessors, exec, norm_arguments(*norm, x.c));
  if (dy.c % 32 == 0) {
    launch<2, false>(dweight, dy, x, multiprocessors, exec, {});
  } else {
    launch<1, false>(dweight, dy, x, multiprocessors, exec, {});
  }
}

}  // namespace vg::kernels::cuda
