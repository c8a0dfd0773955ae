// Gradient of the weights of a convolution with kernel 3, stride 2 and padding 1 on tensor cores, and that of
// the transposed convolution, in which x and dy change places. For one tap it is a matrix product over coarse
// voxels: dw[c][f] = sum over v of coarse[v][c] fine[2 v - 1 + tap][f]. A block marches along D over a tile
// of coarse voxels; what its warps do is in conv3d_strided_wgrad.cuh. Each block leaves its sums in scratch
// memory; a second pass adds them in order.
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_strided_wgrad.cuh"

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
              fine_plane_bytes = StridedTile::fine_plane_bytes;

// With `Norm`, the norm is applied to the fine side.
template <int Blocks, bool Norm>
__global__ void __launch_bounds__(threads, 2)
    strided_wgrad_kernel(float* partials, View<const bfloat16> coarse, View<const bfloat16> fine,
                         HaloGrid grid, NormArguments norm_of_fine) {
  using T = Tile<Blocks>;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t fine_planes = ptx::shared_address(shared_memory),
                 coarse_plane = fine_planes + ring * fine_plane_bytes;
  const int thread = static_cast<int>(threadIdx.x), kw = thread / 32 % 3, block = thread / 32 / 3 % Blocks,
            part = thread / 32 / 3 / Blocks, part_h = part * 2 * T::rows;
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

  const uint32_t fine_lane = strided_wgrad_fine_lane<T::rows>(part_h, kw),
                 coarse_lane = coarse_plane +
                               strided_wgrad_coarse_lane<T::rows, T::coarse_channels, width>(part_h, block);
  static_assert(ring == 3);
  // Where planes 2 i, 2 i + 1 and 2 i + 2 lie.
  uint32_t places[3] = {fine_planes, fine_planes + fine_plane_bytes, fine_planes + 2 * fine_plane_bytes};
  StridedWgradSums sums = {};
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
      strided_wgrad_multiply(sums[kd], b, places[kd] + fine_lane);
    }
    const uint32_t first = places[2];
    places[2] = places[1], places[1] = places[0], places[0] = first;
  }
  ptx::wait_copies<0>();
  strided_wgrad_store<Blocks, T::parts, threads>(partials, reinterpret_cast<float*>(shared_memory), sums, kw,
                                                 block, part, fine.c);
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
