// Both gradients of a convolution with kernel 3, stride 2 and padding 1 from 16 to 32 channels on tensor
// cores in one pass over what they share. The gradient of the coarse side is made of that of the norm behind
// the convolution as it is read and never stored; the gradient of the fine side is added to what is there,
// and what the norm before the convolution needs of it is summed before it leaves the registers.
//
// A block marches along D over a tile of coarse voxels, with two planes of the coarse gradient and three of
// the fine side in shared memory. Six warps copy and make the planes and compute the gradient of the weights
// (conv3d_strided_wgrad_cuda.cu), a fine plane a step; eight compute that of the fine side
// (conv3d_strided_transposed_cuda.cu), the taps of one kd a step: those of kd = 1 make fine plane 2 m, those
// of kd = 2, and of kd = 0 from coarse plane m + 1, fine plane 2 m + 1.
#include "kernels/common/ptx/barrier.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_norm_gradient.cuh"
#include "kernels/conv3d/conv3d_strided_wgrad.cuh"
#include "kernels/norm3d/norm3d_impl.h"

namespace vg::kernels::cuda {

namespace {

using Tile = StridedGradientsTile;
constexpr int channels = Tile::channels, coarse_channels = Tile::coarse_channels, threads = Tile::threads,
              height = Tile::height, width = Tile::width, coarse_plane_bytes = Tile::coarse_plane_bytes,
              coarse_row_bytes = Tile::coarse_row_bytes, fine_plane_bytes = Tile::fine_plane_bytes;

using FineTable = NormTable<channels>;
using CoarseTable = NormGradientTable<coarse_channels>;

struct Operands {
  View<const bfloat16> coarse;  // gradient of the norm's result, that of the coarse side with the source
  NormGradientSource source;
  View<const bfloat16> fine;
  NormArguments norm_of_fine;
  View<bfloat16> out;  // gradient of the fine side
  bool add;
  const uint32_t* packed;  // weights
  float *partials, *moments;
};

// --- The gradient of the weights, and the planes -----------------------------------------------------------

constexpr int rows = height / 2;

// What the first warps copy to shared memory, and what they make of it there.
template <bool Norm>
class Planes {
 public:
  using Table = std::conditional_t<Norm, FineTable, NoNorm>;
  __device__ __forceinline__ Planes(const Operands& of, const HaloPosition& at, uint32_t memory,
                                    const Table& norm, const CoarseTable& gradient)
      : fine_(of.fine, at.n, 2 * at.h - 1,
              [&](int entry) { return 2 * at.w - 1 + StridedTile::column(entry); }),
        coarse_(of.coarse, at.n, at.h, at.w),
        x_distance_(of.source.x_distance),
        d_(at.d),
        beside_(memory + Tile::beside),
        norm_(norm),
        gradient_(gradient) {}

  // Fine plane 2 d - 1 + i and coarse plane d + i of a march that begins at coarse plane d.
  __device__ __forceinline__ void copy_fine(uint32_t place, int i) const { fine_(place, 2 * d_ - 1 + i); }
  __device__ __forceinline__ void copy_coarse(uint32_t place, int i) const {
    coarse_.pair(place, beside_, static_cast<unsigned>(d_ + i), x_distance_);
  }
  // To be called when this thread's copies are there.
  __device__ __forceinline__ void make_fine(uint32_t place, int i) const {
    if constexpr (Norm) fine_.template normalise<1>(norm_, place, 2 * d_ - 1 + i, 0);
  }
  __device__ __forceinline__ void make_coarse(uint32_t place, int i) const {
    const int chunk = coarse_.own_chunk();
    coarse_.template for_each_copied<1>(place, d_ + i, 0, [&](uint32_t address, const bfloat16*) {
      gradient_.apply(chunk, address, address - place + beside_, nullptr);
    });
  }

 private:
  PlaneCopy<Tile::copy_threads, Tile::fine_rows, Tile::fine_columns, channels> fine_;
  PlaneCopy<Tile::copy_threads, Tile::coarse_rows, Tile::coarse_columns, coarse_channels> coarse_;
  int64_t x_distance_;
  int d_;
  uint32_t beside_;
  const Table& norm_;
  const CoarseTable& gradient_;
};

// What the first warps do.
template <class Planes>
__device__ __forceinline__ void weights_march(StridedWgradSums& sums, int kw, int block, uint32_t memory,
                                              const uint32_t* packed, const Planes& planes, int march) {
  uint32_t coarse = memory, to_next = coarse_plane_bytes;  // the next plane's place is so far away
  // Where planes 2 i, 2 i + 1 and 2 i + 2 lie.
  uint32_t fine[3];
#pragma unroll
  for (int i = 0; i < 3; ++i) fine[i] = memory + Tile::fine + i * fine_plane_bytes;
  copy_weights<Tile::copy_threads, Tile::weight_bytes>(memory + Tile::weights, packed);
  planes.copy_coarse(coarse, 0);
  ptx::commit_copies();
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    planes.copy_fine(fine[i], i);
    ptx::commit_copies();
  }
  ptx::wait_copies<2>();
  planes.make_coarse(coarse, 0);
  planes.make_fine(fine[0], 0);

  const uint32_t fine_lane = strided_wgrad_fine_lane<rows>(0, kw),
                 coarse_lane =
                     strided_wgrad_coarse_lane<rows, coarse_channels, Tile::coarse_columns>(0, block);
  // Fragments of the coarse plane are read for each plane of the fine side: what is made in between needs
  // their registers.
  uint32_t fragments_of_coarse = coarse + coarse_lane;
  const auto multiply = [&](float(&of_kd)[3][2][4], uint32_t fine_plane) {
    uint32_t b[rows][4];
#pragma unroll
    for (int row = 0; row < rows; ++row)
      ptx::load_matrix_x4_transposed(b[row], fragments_of_coarse + row * coarse_row_bytes);
    strided_wgrad_multiply(of_kd, b, fine_plane + fine_lane);
  };
#pragma unroll 1
  for (int i = 0; i < march; ++i) {
    const bool last = i + 1 == march;
    // What was copied or made before a barrier is there after it, and what was read may be replaced. The
    // plane that the next step reads is made behind the products of this one.
    ptx::barrier_of_branches<threads>();
    planes.copy_coarse(coarse + to_next, i + 1);
    ptx::commit_copies();
    multiply(sums[0], fine[0]);
    ptx::wait_copies<2>();
    planes.make_fine(fine[1], 2 * i + 1);

    ptx::barrier_of_branches<threads>();
    if (!last) planes.copy_fine(fine[0], 2 * i + 3);
    ptx::commit_copies();
    multiply(sums[1], fine[1]);
    ptx::wait_copies<1>();
    planes.make_fine(fine[2], 2 * i + 2);
    planes.make_coarse(coarse + to_next, i + 1);

    ptx::barrier_of_branches<threads>();
    if (!last) planes.copy_fine(fine[1], 2 * i + 4);
    ptx::commit_copies();
    multiply(sums[2], fine[2]);
    // Plane 2 i + 2 is the next coarse plane's first.
    const uint32_t first = fine[2];
    fine[2] = fine[1], fine[1] = fine[0], fine[0] = first;
    coarse += to_next, fragments_of_coarse += to_next, to_next = -to_next;
  }
  ptx::wait_copies<0>();
}

// --- The gradient of the fine side -------------------------------------------------------------------------

constexpr int fragments = channels / 8, voxels = 8;  // fine ones of a lane in a plane
using Sums = float[voxels / 2][fragments][4];        // [parity of H, W][fragment of 8 channels]

// sums += the taps of one kd, of 32 channels of one plane. `inputs` are the lane's offsets for ldmatrix of
// the voxel and of its neighbour along W, in the first 16 channels; those of the others differ in a bit.
template <int Kd>
__device__ __forceinline__ void multiply_taps(Sums& sums, const uint32_t (&inputs)[2], uint32_t plane,
                                              uint32_t weights) {
  static_assert(coarse_plane_bytes % 64 == 0 && coarse_row_bytes % 64 == 0);
#pragma unroll 1
  for (int step = 0; step < 2; ++step) {
    uint32_t a[2][2][4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      ptx::load_matrix_x4(a[i / 2][i % 2],
                          ((plane + inputs[i % 2]) ^ (step * 32)) + i / 2 * coarse_row_bytes);
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
      const int kh = tap / 3, kw = tap % 3, parity = (kh != 1) * 2 + (kw != 1);
      uint32_t b[4];
      ptx::load_shared_16(b, weights + (step * 27 + Kd * 9 + tap) * 512);
      ptx::mma_m16n8k16(sums[parity][0], a[kh == 0][kw == 0], b[0], b[1]);
      ptx::mma_m16n8k16(sums[parity][1], a[kh == 0][kw == 0], b[2], b[3]);
    }
  }
}

// The norm's parameters of four channels, held in registers for the voxels of a plane.
class LaneNorm {
 public:
  __device__ __forceinline__ LaneNorm(const NormParameters& parameters, uint32_t shared)
      : parameters_(parameters) {
    ptx::load_shared_16(mean_, shared);
    ptx::load_shared_16(scale_, shared + 32);
    ptx::load_shared_16(shift_, shared + 64);
  }
  __device__ __forceinline__ float mean(int i) const { return __uint_as_float(mean_[i]); }
  __device__ __forceinline__ float scale(int i) const { return __uint_as_float(scale_[i]); }
  __device__ __forceinline__ float shift(int i) const { return __uint_as_float(shift_[i]); }
  __device__ __forceinline__ float gradient(float dy, float v) const { return parameters_.gradient(dy, v); }

 private:
  NormParameters parameters_;
  uint32_t mean_[4], scale_[4], shift_[4];
};

// The lane's 4 neighbouring channels of 8 fine voxels of a plane: those of the coarse voxels (h, w) and (h +
// 1, w). Four lanes read or store a voxel's channels: whole sectors.
// With `Norm`, what a norm of the fine side needs may be summed.
template <bool Norm>
class FineVoxels {
 public:
  __device__ __forceinline__ FineVoxels(const Operands& of, const HaloPosition& at, int h, int w, int channel)
      : of_(of) {
#pragma unroll
    for (int row = 0; row < fine_rows; ++row) {
      out_[row] = of.out.at(at.n, 2 * at.d, h + row, w) + channel;
      x_[row] = of.fine.at(at.n, 2 * at.d, h + row, w) + channel;
    }
#pragma unroll
    for (int i = 0; i < voxels; ++i)
      inside_ |= static_cast<unsigned>(h + i / 2 < of.out.h && w + i % 2 < of.out.w) << i;
  }

  // Starts to read what store() will need of the plane, the d-th. Nobody else reads or writes these voxels of
  // `out`.
  __device__ __forceinline__ void load(int d) {
    for_each(d, [&](int i) {
      if (of_.add) ptx::load_global_8(before_[i], out_[i / 2] + i % 2 * of_.out.stride_w);
      if (Norm && of_.moments != nullptr)
        ptx::load_constant_8(x_words_[i], x_[i / 2] + i % 2 * of_.fine.stride_w);
    });
  }
  // Stores or adds the sums, rounded once, and goes on to the next plane; `parameters` are those of the norm
  // of the fine side.
  template <class Parameters>
  __device__ __forceinline__ void store(LaneMoments<2 * fragments>& moments, Sums& sums, int d,
                                        const Parameters& parameters) {
    for_each(d, [&](int i) {
      float(&of_voxel)[fragments][4] = sums[i % 4];
      const int half = i / 4;
      if (of_.add) {
#pragma unroll
        for (int j = 0; j < fragments; ++j) {
          of_voxel[j][2 * half] += ptx::low_bfloat16(before_[i][j]);
          of_voxel[j][2 * half + 1] += ptx::high_bfloat16(before_[i][j]);
        }
      }
      store_voxel(out_[i / 2] + i % 2 * of_.out.stride_w, of_voxel, half);
      if constexpr (Norm) {
        if (of_.moments != nullptr) add_norm_gradient(moments, of_voxel, half, x_words_[i], parameters);
      }
    });
#pragma unroll
    for (int row = 0; row < fine_rows; ++row) out_[row] += of_.out.stride_d, x_[row] += of_.fine.stride_d;
  }

 private:
  static constexpr int fine_rows = voxels / 2;
  template <class Body>
  __device__ __forceinline__ void for_each(int d, const Body& body) const {
    if (d >= of_.out.d) return;
#pragma unroll
    for (int i = 0; i < voxels; ++i) {
      if ((inside_ >> i & 1) != 0) body(i);
    }
  }

  const Operands& of_;
  bfloat16* out_[fine_rows];
  const bfloat16* x_[fine_rows];
  unsigned inside_ = 0;
  uint32_t before_[voxels][fragments] = {}, x_words_[voxels][fragments] = {};
};

// What the other warps do; `parameters()` gives those of the norm of the fine side.
template <bool Norm, class Parameters>
__device__ __forceinline__ void input_march(LaneMoments<2 * fragments>& moments, uint32_t memory,
                                            FineVoxels<Norm>& fine, const HaloPosition& at, int h,
                                            const Parameters& parameters) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint32_t coarse = memory, next_coarse = memory + coarse_plane_bytes;
  const uint32_t weights = memory + Tile::weights + lane * 16;
  uint32_t inputs[2];
#pragma unroll
  for (int i = 0; i < 2; ++i)
    inputs[i] = halo_offset(coarse_channels, Tile::coarse_columns, h + lane / 8 % 2, lane % 8 + i, lane / 16);
  fine.load(2 * at.d);
#pragma unroll 1
  for (int i = 0; i < at.march; ++i) {
    const int d = 2 * (at.d + i);
    Sums even = {};
    ptx::barrier_of_branches<threads>();
    multiply_taps<1>(even, inputs, coarse, weights);
    fine.store(moments, even, d, parameters());
    fine.load(d + 1);

    Sums odd = {};
    ptx::barrier_of_branches<threads>();
    multiply_taps<2>(odd, inputs, coarse, weights);
    ptx::barrier_of_branches<threads>();
    multiply_taps<0>(odd, inputs, next_coarse, weights);
    fine.store(moments, odd, d + 1, parameters());
    if (i + 1 < at.march) fine.load(d + 2);
    const uint32_t done = coarse;
    coarse = next_coarse, next_coarse = done;
  }
}

template <bool Norm>
__global__ void __launch_bounds__(threads, 1) strided_gradients_kernel(Operands of, HaloGrid grid) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  __shared__ __align__(16) float fine_floats[FineTable::floats], coarse_floats[CoarseTable::floats];
  const uint32_t memory = ptx::shared_address(shared_memory);
  const HaloPosition at = halo_position(grid, height, width, of.coarse.d);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const typename Planes<Norm>::Table norm(fine_floats, of.norm_of_fine, at.n, 0);
  NormGradientSource source = of.source;
  // Of a value that may differ from lane to lane the compiler selects instead of making branches.
  source.norm.relu = __shfl_sync(0xffffffffu, source.norm.relu ? 1 : 0, lane) != 0;
  const CoarseTable gradient(coarse_floats, source, at.n, 0);
  __syncthreads();
  float totals[fragments / 2] = {};
  StridedWgradSums sums = {};
  const bool of_weights = thread < Tile::copy_threads;
  const int kw = thread / 32 % 3, block = thread / 32 / 3;
  // Both come to the same number of barriers.
  if (of_weights) {
    weights_march(sums, kw, block, memory, of.packed, Planes<Norm>(of, at, memory, norm, gradient), at.march);
  } else {
    const int h = (thread - Tile::copy_threads) / 32 * 2, channel = lane % 4 * (2 * fragments);
    LaneMoments<2 * fragments> moments;
    FineVoxels<Norm> fine(of, at, 2 * (at.h + h), 2 * (at.w + lane / 4), channel);
    if constexpr (Norm) {
      const float* const from = fine_floats + channel / 8 * FineTable::chunk_floats + channel % 8;
      input_march(moments, memory, fine, at, h,
                  [&] { return LaneNorm(norm.parameters(fine_floats, channel), ptx::shared_address(from)); });
      add_lanes(totals, moments);
    } else {
      input_march(moments, memory, fine, at, h, [] { return NoNorm(); });
    }
  }
  strided_wgrad_store<coarse_channels / 16, 1, threads>(
      of.partials + int64_t{blockIdx.x} * (coarse_channels * channels * 27),
      reinterpret_cast<float*>(shared_memory), sums, kw, block, of_weights ? 0 : -1, channels);
  if (Norm && of.moments != nullptr)
    store_moments<threads / 32, 1>(halo_moments(of.moments, grid, channels, channels),
                                   reinterpret_cast<float*>(shared_memory + Tile::weights), totals, channels);
}

}  // namespace

void conv3d_backward_strided(const InputGradient& of_x, float* dweight, const NormInputGradient& source,
                             View<const bfloat16> x, const InputNorm* norm, const float* weight,
                             int multiprocessors, const Exec& exec) {
  if (x.elements() == 0) return;
  WorkspaceScope scope(*exec.workspace);
  // One block a multiprocessor; the grid is made for two.
  const HaloGrid grid = halo_grid(height, width, 1, source.dy, (multiprocessors + 1) / 2);
  constexpr int64_t count = int64_t{channels} * coarse_channels * 27;
  const int64_t pieces = grid.blocks();
  float* const partials = scope.allocate<float>(static_cast<size_t>(pieces * count));
  float* const moments = of_x.norm_sums != nullptr ? allocate_moments(scope, pieces, channels) : nullptr;
  const uint32_t* const packed = pack_strided_weights({weight, 27, channels * 27}, channels, coarse_channels,
                                                      channels, fragments, scope, exec);
  const Operands operands{source.dy, norm_gradient_source(source, {}),
                          x,         norm != nullptr ? norm_arguments(*norm, x.c) : NormArguments{},
                          of_x.dx,   of_x.add,
                          packed,    partials,
                          moments};
  const auto kernel = norm != nullptr ? strided_gradients_kernel<true> : strided_gradients_kernel<false>;
  // More than 48 KiB must be asked for; strided_gradients_apply() has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::shared_bytes));
  kernel<<<blocks_for(pieces, 1), threads, Tile::shared_bytes, stream_of(exec)>>>(operands, grid);
  check_launch();
  accumulate_pieces(dweight, partials, count, pieces, exec);
  if (moments == nullptr) return;
  const int64_t groups = norm->params.per_instance ? x.n : 1;
  norm3d_join_pieces(of_x.norm_sums, {moments, 2, groups, pieces / groups, channels, x.voxels() / groups},
                     exec);
}

}  // namespace vg::kernels::cuda
