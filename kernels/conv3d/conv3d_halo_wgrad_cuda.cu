// Gradient of the weights of a convolution with kernel 3, stride 1 and padding 1 on tensor cores. For one tap
// it is a matrix product over voxels: dw[i][o] = sum over v of x[v + tap][i] dy[v][o]. A block takes 16 input
// and 16 output channels and marches along D over a tile of voxels; a warp takes one kw and all nine (kd,
// kh), so that a fragment of x, which it keeps in registers while it walks along H, serves three taps kh, and
// a fragment of dy all nine. Each block leaves its sums in scratch memory; a second pass adds them in order.
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gated.cuh"
#include "kernels/conv3d/conv3d_halo.cuh"
#include "kernels/conv3d/conv3d_halo_products.cuh"
#include "kernels/conv3d/conv3d_norm_gradient.cuh"

namespace vg::kernels::cuda {

namespace {

constexpr HaloWgradTile tile;
constexpr int rows = tile.rows, height = tile.height(), width = tile.width(), threads = tile.threads(),
              channels = HaloWgradTile::channels, x_plane_bytes = tile.x_plane_bytes(),
              dy_plane_bytes = tile.dy_plane_bytes(), x_ring = HaloWgradTile::x_ring,
              dy_ring = HaloWgradTile::dy_ring, x_row_bytes = (width + 2) * channels * 2,
              dy_row_bytes = width * channels * 2, output_pitch = HaloWgradTile::output_pitch;

// Adds the sums of the block's warps in order, in shared memory as [output channel][input channel][27] with
// `output_pitch` floats for an output channel, and stores them to the block's part of the partial gradient.
__device__ __forceinline__ void store_sums(float* partial, float* shared, const float (&sums)[9][2][4],
                                           int kw, int part, int64_t in_channels) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4;
  for (int turn = 0; turn < tile.parts(); ++turn) {
    __syncthreads();
    if (part != turn) continue;
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int in = g + i / 2 % 2 * 8, out = i / 4 * 8 + 2 * q + i % 2;
        float& sum = shared[out * output_pitch + in * 27 + tap * 3 + kw];
        sum = sums[tap][i / 4][i % 4] + (turn == 0 ? 0.0f : sum);
      }
    }
  }
  __syncthreads();
  constexpr int run = channels * 27;
  for (int i = static_cast<int>(threadIdx.x); i < channels * run; i += threads)
    partial[i / run * in_channels * 27 + i % run] = shared[i / run * output_pitch + i % run];
}

// Where dy comes from: it is there, or it is made as it is read.
enum class Source { stored, norm, narrow_and_norm };

// What is done to x as it is read: GateArguments make it of two tensors.
enum class Before { nothing, norm, gate };

// Registers are short with a gate: which way the compiler spills none depends on the architecture.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
constexpr bool gate_parameters_once = true;
#else
constexpr bool gate_parameters_once = false;
#endif

// A dy that is made is left where blocks of the first input channels are told to.
template <Before X, Source Of>
__global__ void __launch_bounds__(threads, 2) halo_wgrad_kernel(
    float* partials, View<const bfloat16> dy, View<const bfloat16> x, HaloGrid grid, NormArguments norm_of_x,
    NormGradientSource source,
    const __grid_constant__ std::conditional_t<X == Before::gate, GateArguments, NoGate> gate) {
  constexpr bool Norm = X != Before::nothing, Gate = X == Before::gate;
  constexpr bool Made = Of != Source::stored, Narrow = Of == Source::narrow_and_norm;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t x_planes = ptx::shared_address(shared_memory), dy_planes = x_planes + x_ring * x_plane_bytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, kw = thread / 32 % 3,
            part = thread / 32 / 3, warp_h = part / tile.warps_w * 2 * rows, warp_w = part % tile.warps_w * 8;
  const HaloPosition at = halo_position(grid, height, width, dy.d);
  const int64_t in_channels = x.c, in_first = at.group % (x.c / channels) * channels,
                out_first = at.group / (x.c / channels) * channels;
  partials += blockIdx.x / grid.groups * (dy.c * x.c * 27) + (out_first * x.c + in_first) * 27;
  const int64_t gated_channels = in_channels / 2;
  x = x.channels(in_first, in_first + channels);
  if (Gate && in_first >= gated_channels) x.data += gate.distance;
  dy = dy.channels(out_first, out_first + channels);

  const PlaneCopy<threads, height + 2, width + 2, channels> x_copy(x, at.n, at.h - 1, at.w - 1);
  const PlaneCopy<threads, height, width, channels> dy_copy(dy, at.n, at.h, at.w);
  const auto copy_x = [&](int i) { x_copy(x_planes + i % x_ring * x_plane_bytes, at.d - 1 + i); };
  const uint32_t source_plane = dy_planes + dy_ring * dy_plane_bytes;
  const auto copy_dy = [&](int i) {
    dy_copy(dy_planes + i % dy_ring * dy_plane_bytes, at.d + i);
    if constexpr (Narrow) {
      // Each thread copies for itself: the two voxels of 8 bytes of which one is that of its channels.
      const uint32_t plane = dy_planes + i % dy_ring * dy_plane_bytes;
      dy_copy.template for_each_copied<1>(plane, at.d + i, 0, [&](uint32_t address, const bfloat16* from) {
        ptx::copy_16_async(address - plane + source_plane, source.narrow + ((from - source.x) >> 2 & ~7),
                           true);
      });
    } else if constexpr (Made) {
      dy_copy(source_plane, at.d + i, source.x_distance);
    }
  };
#pragma unroll 1
  for (int i = 0; i < 3; ++i) copy_x(i);
  copy_dy(0);
  ptx::commit_copies();
  using Table = std::conditional_t<Gate, GateTable<channels>, NormTable<channels>>;
  __shared__ __align__(16) float norm_floats[Norm ? Table::floats : 1];
  const auto norm = [&] {
    if constexpr (Gate) {
      return Table(norm_floats, norm_of_x, gate, at.n, in_first, gated_channels);
    } else {
      return std::conditional_t<Norm, Table, NoNorm>(norm_floats, norm_of_x, at.n, in_first);
    }
  }();
  // The scores of two planes, copied a plane ahead.
  using Scores = ScoreRows<height + 2, width>;
  __shared__ __align__(16) unsigned char score_memory[Gate ? 2 * Scores::bytes : 1];
  const auto scores_of = [&](int i) { return ptx::shared_address(score_memory) + i % 2 * Scores::bytes; };
  int score_place = -1;
  if constexpr (Gate) {
    if (in_first < gated_channels)
      score_place = Scores::in_row(gate.scores, Scores::place(gate.scores, at.n, at.w, thread),
                                   at.h - 1 + Scores::row_of(thread));
  }
  const auto copy_scores = [&](int i) {
    if constexpr (Gate) Scores::copy(scores_of(i), gate.scores, score_place, at.d - 1 + i, thread);
  };
  const auto normalise_x = [&](int i) {
    if constexpr (Gate) {
      norm.template apply<1, gate_parameters_once>(
          x_copy, x_planes + i % x_ring * x_plane_bytes, at.d - 1 + i, 0,
          [&](int column, int row) { return Scores::at(scores_of(i), column, row); });
    } else if constexpr (Norm)
      x_copy.template normalise<1>(norm, x_planes + i % x_ring * x_plane_bytes, at.d - 1 + i, 0);
  };
  using GradientTable = NormGradientTable<channels, Narrow>;
  __shared__ __align__(16) float gradient_floats[Made ? GradientTable::floats : 1];
  const std::conditional_t<Made, GradientTable, NoNorm> gradient(gradient_floats, source, at.n, out_first);
  const bool stored = Made && source.stored && in_first == 0;
  const auto make_dy = [&](int i) {
    if constexpr (Made) {
      const uint32_t plane = dy_planes + i % dy_ring * dy_plane_bytes;
      dy_copy.template for_each_copied<1>(plane, at.d + i, 0, [&](uint32_t address, const bfloat16* from) {
        bfloat16* const to = stored ? const_cast<bfloat16*>(from) + source.store_distance : nullptr;
        const uint32_t beside = address - plane + source_plane;
        if constexpr (Narrow) {
          gradient.apply_narrow(dy_copy.own_chunk(), beside, ((from - source.x) & channels) != 0, address,
                                to);
        } else {
          gradient.apply(dy_copy.own_chunk(), address, beside, to);
        }
      });
    }
  };
  if constexpr (Made) __syncthreads();
  if constexpr (Norm) {
    __syncthreads();
    ptx::wait_copies<0>();
#pragma unroll 1
    for (int i = 0; i < 3; ++i) {
      if constexpr (Gate) {
        norm.template apply<1>(
            x_copy, x_planes + i * x_plane_bytes, at.d - 1 + i, 0, [&](int column, int row) {
              return *gate.scores.at(at.n, at.d - 1 + i, at.h - 1 + row, at.w - 1 + column);
            });
      } else {
        normalise_x(i);
      }
    }
  }
  if constexpr (Gate) {
    copy_scores(3);
    ptx::commit_copies();  // for the first step to wait for
  }

  // Both operands lie in memory as rows of channels and are transposed on the way. Fragments of A want the
  // matrices (voxels of row h; channels 0-7, 8-15), (voxels of row h + rows; the same), those of B (channels
  // 0-7; voxels of row h, h + rows), (channels 8-15; the same).
  const uint32_t x_lane = halo_offset(channels, width + 2, warp_h + lane / 16 * rows, warp_w + lane % 8 + kw,
                                      lane / 8 % 2),
                 dy_lane =
                     halo_offset(channels, width, warp_h + lane / 8 % 2 * rows, warp_w + lane % 8, lane / 16);
  float sums[9][2][4] = {};
#pragma unroll 1
  for (int i = 0; i < at.march; ++i) {
    ptx::wait_copies<0>();
    if (i > 0) normalise_x(i + 2);
    make_dy(i);
    __syncthreads();  // the copies are there, and the planes that the next ones replace are done with
    if (i + 1 < at.march) {
      copy_x(i + 3);
      copy_dy(i + 1);
      copy_scores(i + 4);
    }
    ptx::commit_copies();
    uint32_t of_kd[3];
    for (int kd = 0; kd < 3; ++kd) of_kd[kd] = x_planes + x_lane + (i + kd) % x_ring * x_plane_bytes;
    multiply_planes<rows, x_row_bytes, dy_row_bytes>(sums, of_kd,
                                                     dy_planes + dy_lane + i % dy_ring * dy_plane_bytes);
  }
  ptx::wait_copies<0>();
  store_sums(partials, reinterpret_cast<float*>(shared_memory), sums, kw, part, in_channels);
}

template <Before X, Source Of>
void launch(float* dweight, const View<const bfloat16>& dy, const View<const bfloat16>& x,
            int multiprocessors, const InputNorm* norm, const NormGradientSource& source, const Exec& exec,
            const std::conditional_t<X == Before::gate, GateArguments, NoGate>& gate = {}) {
  const HaloGrid grid = halo_grid(height, width, x.c / channels * (dy.c / channels), dy, multiprocessors);
  const int64_t count = dy.c * x.c * 27, pieces = grid.blocks() / grid.groups;
  WorkspaceScope scope(*exec.workspace);
  float* const partials = scope.allocate<float>(static_cast<size_t>(pieces * count));
  // More than 48 KiB must be asked for; halo_wgrad_applies() has seen that the device has it.
  const int shared_bytes = Of == Source::stored ? tile.shared_bytes() : tile.shared_bytes_of_gradient();
  const auto kernel = halo_wgrad_kernel<X, Of>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  kernel<<<blocks_for(grid.blocks(), 1), threads, shared_bytes, stream_of(exec)>>>(
      partials, dy, x, grid, norm != nullptr ? norm_arguments(*norm, x.c) : NormArguments{}, source, gate);
  check_launch();
  accumulate_pieces(dweight, partials, count, pieces, exec);
}

template <Source Of>
void launch_one_of(float* dweight, const View<const bfloat16>& dy, const View<const bfloat16>& x,
                   int multiprocessors, const InputNorm* norm, const NormGradientSource& source,
                   const Exec& exec) {
  require(norm == nullptr || input_norm_applies(*norm),
          "gradient of conv3d's weights on tensor cores: a norm of the input comes with one slope");
  if (dy.elements() == 0) return;
  if (norm != nullptr) {
    launch<Before::norm, Of>(dweight, dy, x, multiprocessors, norm, source, exec);
  } else {
    launch<Before::nothing, Of>(dweight, dy, x, multiprocessors, norm, source, exec);
  }
}

template <Source Of>
void launch_gated(float* dweight, const View<const bfloat16>& dy, const GatedInput& x, int multiprocessors,
                  const NormGradientSource& source, const Exec& exec) {
  View<const bfloat16> places = x.skip;
  places.c *= 2;
  launch<Before::gate, Of>(dweight, dy, places, multiprocessors, &x.gate.norm_of_x, source, exec,
                           gate_arguments(x));
}

}  // namespace

void conv3d_backward_weight_halo_tile(float* dweight, View<const bfloat16> dy, const GatedInput& x,
                                      int multiprocessors, const Exec& exec, const NormInputGradient& source,
                                      View<bfloat16> made) {
  launch_gated<Source::norm>(dweight, dy, x, multiprocessors, norm_gradient_source(source, made), exec);
}

void conv3d_backward_weight_halo_tile(float* dweight, const NarrowGradient& source, const GatedInput& x,
                                      int multiprocessors, const Exec& exec, View<bfloat16> made) {
  launch_gated<Source::narrow_and_norm>(dweight, source.x, x, multiprocessors,
                                        norm_gradient_source(source, made), exec);
}

void conv3d_backward_weight_halo_tile(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                      int multiprocessors, const Exec& exec, const InputNorm* norm,
                                      const NormInputGradient* source, View<bfloat16> made) {
  if (source == nullptr)
    return launch_one_of<Source::stored>(dweight, dy, x, multiprocessors, norm, {}, exec);
  launch_one_of<Source::norm>(dweight, dy, x, multiprocessors, norm, norm_gradient_source(*source, made),
                              exec);
}

void conv3d_backward_weight_halo_tile(float* dweight, const NarrowGradient& source, View<const bfloat16> x,
                                      int multiprocessors, const Exec& exec, const InputNorm* norm,
                                      View<bfloat16> made) {
  launch_one_of<Source::narrow_and_norm>(dweight, source.x, x, multiprocessors, norm,
                                         norm_gradient_source(source, made), exec);
}

}  // namespace vg::kernels::cuda
