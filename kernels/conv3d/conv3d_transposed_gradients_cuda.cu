// Both gradients of a transposed convolution with kernel 3 and stride 2 from 32 to 16 channels on tensor
// cores, in one pass over what they share. The gradient of the fine side, its output, is made of that of the
// norm behind it as it is read, and never stored.
//
// A block marches along D over a tile of coarse voxels, a fine plane a step, three of which lie in shared
// memory. Six warps multiply it with the coarse plane for the gradient of the weights
// (conv3d_strided_wgrad.cuh), four with the weights for that of the input, which is a convolution with stride
// 2 of the fine side (conv3d_strided_products.cuh).
#include "kernels/common/ptx/barrier.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_norm_gradient.cuh"
#include "kernels/conv3d/conv3d_strided_products.cuh"
#include "kernels/conv3d/conv3d_strided_wgrad.cuh"

namespace vg::kernels::cuda {

namespace {

using Tile = TransposedGradientsTile;
constexpr int channels = Tile::channels, coarse_channels = Tile::coarse_channels, threads = Tile::threads,
              height = Tile::height, width = Tile::width, coarse_plane_bytes = Tile::coarse_plane_bytes,
              fine_plane_bytes = Tile::fine_plane_bytes;

using Table = NormGradientTable<channels>;

struct Operands {
  View<const bfloat16> fine;    // gradient of the norm's result, that of the fine side with the source
  View<const bfloat16> beside;  // the norm's input
  NormGradientSource source;
  View<const bfloat16> coarse;
  View<bfloat16> out;      // gradient of the coarse side
  const uint32_t* packed;  // weights
  float* partials;
};

// What the block copies to shared memory, and makes of it there.
class Planes {
 public:
  __device__ __forceinline__ Planes(const Operands& of, const HaloPosition& at, uint32_t memory,
                                    const Table& gradient)
      : fine_(of.fine, at.n, 2 * at.h - 1, Column{at.w}),
        beside_(of.beside, at.n, 2 * at.h - 1, Column{at.w}),
        coarse_(of.coarse, at.n, at.h, at.w),
        d_(at.d),
        memory_(memory),
        gradient_(gradient) {}

  // Fine plane 2 d - 1 + i and coarse plane d + i of a march that begins at coarse plane d.
  __device__ __forceinline__ void copy_fine(uint32_t place, int i) const {
    fine_(place, 2 * d_ - 1 + i);
    beside_.only_inside(beside(i), 2 * d_ - 1 + i, 0);
    ptx::commit_copies();
  }
  __device__ __forceinline__ void copy_coarse(int i) const { coarse_(coarse(i), d_ + i); }
  // To be called when this thread's copies are there.
  __device__ __forceinline__ void make_fine(uint32_t place, int i) const {
    const int chunk = fine_.own_chunk();
    fine_.template for_each_copied<1>(place, 2 * d_ - 1 + i, 0, [&](uint32_t address, const bfloat16*) {
      gradient_.apply(chunk, address, address - place + beside(i), nullptr);
    });
  }
  __device__ __forceinline__ uint32_t coarse(int i) const {
    return memory_ + Tile::coarse + i % 2 * coarse_plane_bytes;
  }

 private:
  // What a thread has copied there is read by itself alone: it may be replaced as soon as it has been used.
  __device__ __forceinline__ uint32_t beside(int i) const {
    return memory_ + Tile::beside + i % 2 * fine_plane_bytes;
  }

  struct Column {
    int w;
    __device__ __forceinline__ int operator()(int entry) const {
      return 2 * w - 1 + StridedTile::column(entry);
    }
  };
  using FineCopy = PlaneCopy<threads, Tile::fine_rows, Tile::fine_columns, channels>;

  FineCopy fine_, beside_;
  PlaneCopy<threads, height, width, coarse_channels> coarse_;
  int d_;
  uint32_t memory_;
  const Table& gradient_;
};

// Calls products.multiply<kd>(fine plane, coarse plane) and products.finish(i) for the i-th coarse plane. The
// warps of a block take different products through the same barriers.
template <class Products>
__device__ __forceinline__ void march(Products& products, const Planes& planes, uint32_t memory,
                                      const uint32_t* packed, int count) {
  // Where planes 2 i, 2 i + 1 and 2 i + 2 lie.
  uint32_t fine[3];
#pragma unroll
  for (int i = 0; i < 3; ++i) fine[i] = memory + i * fine_plane_bytes;
  copy_weights<threads, Tile::weight_bytes>(memory + Tile::weights, packed);
  planes.copy_coarse(0);
  planes.copy_fine(fine[0], 0);
  planes.copy_fine(fine[1], 1);
  ptx::wait_copies<1>();
  planes.make_fine(fine[0], 0);
  planes.copy_fine(fine[2], 2);
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    const bool last = i + 1 == count;
    // What was copied or made before a barrier is there after it, and what was read may be replaced. The
    // plane that the next step reads is made behind the products of this one; copies have two steps' time.
    ptx::barrier_of_branches<threads>();
    if (!last) planes.copy_coarse(i + 1);
    ptx::commit_copies();
    products.template multiply<0>(fine[0], planes.coarse(i));
    ptx::wait_copies<2>();
    planes.make_fine(fine[1], 2 * i + 1);

    ptx::barrier_of_branches<threads>();
    if (last) {
      ptx::commit_copies();
    } else {
      planes.copy_fine(fine[0], 2 * i + 3);
    }
    products.template multiply<1>(fine[1], planes.coarse(i));
    ptx::wait_copies<2>();
    planes.make_fine(fine[2], 2 * i + 2);

    ptx::barrier_of_branches<threads>();
    if (last) {
      ptx::commit_copies();
    } else {
      planes.copy_fine(fine[1], 2 * i + 4);
    }
    products.template multiply<2>(fine[2], planes.coarse(i));
    products.finish(i);
    ptx::wait_copies<2>();
    // Plane 2 i + 2 is the next coarse plane's first.
    const uint32_t first = fine[2];
    fine[2] = fine[1], fine[1] = fine[0], fine[0] = first;
  }
  ptx::wait_copies<0>();
}

class WeightProducts {
 public:
  __device__ __forceinline__ WeightProducts(StridedWgradSums& sums, int kw, int block)
      : sums_(sums),
        fine_(strided_wgrad_fine_lane<rows>(0, kw)),
        coarse_(strided_wgrad_coarse_lane<rows, coarse_channels, width>(0, block)) {}

  template <int Kd>
  __device__ __forceinline__ void multiply(uint32_t fine, uint32_t coarse) {
    // Read for each fine plane: what is made in between needs the registers.
    uint32_t b[rows][4];
#pragma unroll
    for (int row = 0; row < rows; ++row)
      ptx::load_matrix_x4_transposed(b[row], coarse + coarse_ + row * (width * coarse_channels * 2));
    strided_wgrad_multiply(sums_[Kd], b, fine + fine_);
  }
  __device__ __forceinline__ void finish(int) const {}

 private:
  static constexpr int rows = height / 2;
  StridedWgradSums& sums_;
  uint32_t fine_, coarse_;
};

class InputProducts {
 public:
  using T = StridedForward<0>;
  static_assert(T::out_channels == coarse_channels && T::march);

  __device__ __forceinline__ InputProducts(const Operands& of, const HaloPosition& at, int warp,
                                           uint32_t memory)
      : of_(of), at_(at), first_row_(warp / T::warps_c * 2 * T::rows) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp_c = warp % T::warps_c;
    channel_ = warp_c * (8 * T::fragments) + lane % 4 * (2 * T::fragments);
    weights_ = memory + Tile::weights + (warp_c * (T::fragments / 2) * 32 + lane) * 16;
    strided_inputs<T::rows>(inputs_, first_row_);
  }

  template <int Kd>
  __device__ __forceinline__ void multiply(uint32_t fine, uint32_t) {
    strided_multiply<T>(sums_, inputs_, fine, weights_ + Kd * T::weight_bytes);
  }
  __device__ __forceinline__ void finish(int i) {
    float totals[T::fragments / 2];
    store_tile(totals, of_.out, sums_, at_.n, at_.d + i, at_.h + first_row_,
               at_.w + static_cast<int>(threadIdx.x) % 32 / 4, channel_, NoVoxels{});
    start_sums(sums_, nullptr);
  }

 private:
  const Operands& of_;
  const HaloPosition& at_;
  int first_row_, channel_;
  uint32_t weights_, inputs_[3];
  StridedForwardSums<T> sums_ = {};
};

__global__ void __launch_bounds__(threads, 1) transposed_gradients_kernel(Operands of, HaloGrid grid) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  __shared__ __align__(16) float table_floats[Table::floats];
  const uint32_t memory = ptx::shared_address(shared_memory);
  const HaloPosition at = halo_position(grid, height, width, of.coarse.d);
  const Table gradient(table_floats, of.source, at.n, 0);
  __syncthreads();
  const Planes planes(of, at, memory, gradient);
  const int warp = static_cast<int>(threadIdx.x) / 32, kw = warp % 3, block = warp / 3;
  const bool of_weights = warp < Tile::wgrad_warps;
  StridedWgradSums sums = {};
  // Both come to the same number of barriers.
  if (of_weights) {
    WeightProducts products(sums, kw, block);
    march(products, planes, memory, of.packed, at.march);
  } else {
    InputProducts products(of, at, warp - Tile::wgrad_warps, memory);
    march(products, planes, memory, of.packed, at.march);
  }
  strided_wgrad_store<coarse_channels / 16, 1, threads>(
      of.partials + int64_t{blockIdx.x} * (coarse_channels * channels * 27),
      reinterpret_cast<float*>(shared_memory), sums, kw, block, of_weights ? 0 : -1, channels);
}

}  // namespace

void conv_transpose3d_backward_strided(View<bfloat16> dx, float* dweight, const NormInputGradient& source,
                                       View<const bfloat16> x, const float* weight, int multiprocessors,
                                       const Exec& exec) {
  if (x.elements() == 0) return;
  WorkspaceScope scope(*exec.workspace);
  // One block a multiprocessor; the grid is made for two.
  const HaloGrid grid = halo_grid(height, width, 1, x, (multiprocessors + 1) / 2);
  constexpr int64_t count = int64_t{channels} * coarse_channels * 27;
  const int64_t pieces = grid.blocks();
  float* const partials = scope.allocate<float>(static_cast<size_t>(pieces * count));
  using T = InputProducts::T;
  const uint32_t* const packed = pack_strided_weights({weight, channels * 27, 27}, coarse_channels, channels,
                                                      T::out_channels, T::fragments, scope, exec);
  const Operands operands{source.dy, source.x, norm_gradient_source(source, {}), x, dx, packed, partials};
  // More than 48 KiB must be asked for; transposed_gradients_apply() has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(transposed_gradients_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  Tile::shared_bytes));
  transposed_gradients_kernel<<<blocks_for(pieces, 1), threads, Tile::shared_bytes, stream_of(exec)>>>(
      operands, grid);
  check_launch();
  accumulate_pieces(dweight, partials, count, pieces, exec);
}

}  // namespace vg::kernels::cuda
