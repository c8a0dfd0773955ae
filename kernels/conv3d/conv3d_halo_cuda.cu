// Convolution with kernel 3, stride 1 and padding 1 on tensor cores: a halo tile. A block brings the input
// of its tile of outputs, with one voxel around it, into shared memory once and takes all 27 taps from there.
// It marches along D, so that each plane serves three planes of outputs. Voxels are the rows of the matrix
// products, output channels the columns; a fragment of the input is reused for the taps kh = 0, 1, 2: input
// row r of the fragments feeds output rows r, r - 1, r - 2. The gradient with respect to the input is the
// same kernel with flipped and transposed weights.
#include <utility>

#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gated.cuh"
#include "kernels/conv3d/conv3d_halo.cuh"
#include "kernels/conv3d/conv3d_halo_products.cuh"

namespace vg::kernels::cuda {

namespace {

template <int Index>
using Tile = HaloProducts<Index>;

// What a kernel does beside the convolution. All but the first leave `moments`, a piece from each block.
enum class Extra {
  nothing,
  moments,           // of the output
  moments_and_norm,  // ... and a norm is applied to the input
  moments_and_gate,  // ... or a gate and two norms are, see GateArguments
  norm_gradient      // what the norm of which the output is the gradient needs, see NormGradientArguments
};

template <class T, Extra Also>
__global__ void __launch_bounds__(T::warps * 32, 2) halo_kernel(
    View<bfloat16> out, float* moments, View<const bfloat16> in, const uint32_t* packed, const float* bias,
    HaloGrid grid, NormArguments norm_of_input, NormGradientArguments behind,
    const __grid_constant__ std::conditional_t<Also == Extra::moments_and_gate, GateArguments, NoGate> gate) {
  constexpr bool moments_wanted = Also != Extra::nothing, Gate = Also == Extra::moments_and_gate,
                 Norm = Also == Extra::moments_and_norm || Gate, norm_behind = Also == Extra::norm_gradient;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t planes = ptx::shared_address(shared_memory), weights = planes + T::ring * T::plane_bytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, g = lane / 4, q = lane % 4;
  const int warp_h = thread / 32 / T::warps_w * 2 * T::rows, warp_w = thread / 32 % T::warps_w * 8;
  const HaloPosition at = halo_position(grid, T::height, T::width, out.d);
  packed += at.group * T::packed_words;
  const int64_t channel = at.group * T::out_channels + q * T::lane_channels;

  constexpr int threads = T::warps * 32;
  using Copy = PlaneCopy<threads, T::height + 2, T::width + 2, T::in_channels>;
  const Copy copy(in, at.n, at.h - 1, at.w - 1, thread, T::in_channels / (Gate ? 2 : 1), gate.distance);
  // The planes around the first plane of outputs, with weights: the first piece, or all.
  copy_weights<threads, T::weights_stay ? T::packed_words * 4 : T::piece_bytes>(weights, packed);
#pragma unroll 1
  for (int i = 0; i < T::ring; ++i) copy(planes + i * T::plane_bytes, at.d - 1 + i);
  ptx::commit_copies();
  using Table = std::conditional_t<Gate, GateTable<T::in_channels>, NormTable<T::in_channels>>;
  __shared__ __align__(16) float norm_floats[Norm ? Table::floats : 1];
  const auto norm = [&] {
    if constexpr (Gate) {
      return Table(norm_floats, norm_of_input, gate, at.n);
    } else {
      return std::conditional_t<Norm, Table, NoNorm>(norm_floats, norm_of_input, at.n, 0);
    }
  }();
  // A plane arrives in so many parts; the scores of all of them ahead where there is room, else of two.
  constexpr int parts = T::weights_stay ? 1 : 2 * T::pieces, part_rows = Copy::template part_rows<parts>;
  constexpr bool whole = T::in_channels == 32 && ScoreRows<T::height + 2, T::width>::copies <= threads;
  using Scores = ScoreRows<whole ? T::height + 2 : part_rows, T::width>;
  static_assert(!Gate || Scores::copies <= threads);
  __shared__ __align__(16) unsigned char score_memory[Gate ? (whole ? 1 : 2) * Scores::bytes : 1];
  const uint32_t scores = ptx::shared_address(score_memory);
  static_assert(!Gate || !T::weights_stay, "a barrier before every part");
  int score_place = -1;
  if constexpr (Gate) score_place = Scores::place(gate.scores, at.n, at.w, thread);
  const auto normalise = [&](int plane, int part) {
    const uint32_t address = planes + plane % T::ring * T::plane_bytes;
    if constexpr (Gate) {
      norm.template apply<parts>(copy, address, at.d - 1 + plane, part, [&](int column, int row) {
        return whole ? Scores::at(scores, column, part * part_rows + row)
                     : Scores::at(scores + part % 2 * Scores::bytes, column, row);
      });
    } else if constexpr (Norm) {
      copy.template normalise<parts>(norm, address, at.d - 1 + plane, part);
    }
  };
  using TableBehind = NormTable<T::out_channels>;
  __shared__ __align__(16) float floats_behind[norm_behind ? TableBehind::floats : 1];
  const std::conditional_t<norm_behind, TableBehind, NoNorm> norm_of_output(floats_behind, behind.norm, at.n,
                                                                            at.group * T::out_channels);
  static_assert(T::shape.shared_bytes() + sizeof(floats_behind) <= 99 * 1024);
  if constexpr (norm_behind) __syncthreads();
  if constexpr (Norm) {
    static_assert(T::shape.shared_bytes() + sizeof(norm_floats) + sizeof(score_memory) <= 99 * 1024);
    __syncthreads();
    ptx::wait_copies<0>();
#pragma unroll 1
    for (int i = 0; i < T::ring; ++i) {
      const uint32_t plane = planes + i * T::plane_bytes;
      if constexpr (Gate) {
        norm.template apply<1>(copy, plane, at.d - 1 + i, 0, [&](int column, int row) {
          return *gate.scores.at(at.n, at.d - 1 + i, at.h - 1 + row, at.w - 1 + column);
        });
      } else {
        copy.template normalise<1>(norm, plane, at.d - 1 + i, 0);
      }
    }
  }
  if (T::weights_stay) {
    ptx::wait_copies<0>();
    __syncthreads();
  }

  // Lanes 0-7 and 8-15 give ldmatrix the upper and lower 8 rows of the first 8 channels, the others those of
  // the second 8.
  uint32_t inputs[3][T::steps];
#pragma unroll
  for (int kw = 0; kw < 3; ++kw) {
#pragma unroll
    for (int step = 0; step < T::steps; ++step)
      inputs[kw][step] = planes + halo_offset(T::in_channels, T::width + 2, warp_h + lane / 8 % 2 * T::rows,
                                              warp_w + lane % 8 + kw, 2 * step + lane / 16);
  }
  const uint32_t lane_weights = weights + lane * 16;
  float totals[T::fragments / 2] = {};
  uint32_t buffer = 0;  // where in the ring the piece's weights lie
#pragma unroll 1
  for (int i = 0; i < at.march; ++i) {
    float sums[T::rows][T::fragments][4];
    start_sums(sums, bias == nullptr ? nullptr : bias + channel);
#pragma unroll 1
    for (int kd = 0; kd < 3; ++kd) {
      const uint32_t plane = (i + kd) % T::ring * T::plane_bytes;
#pragma unroll
      for (int piece = 0; piece < T::pieces; ++piece) {
        if (!T::weights_stay || kd == 1) {
          // What was copied in the piece before is there, and what the next copies replace is done with: the
          // weights of the piece before and, from kd = 1 on, plane i.
          ptx::wait_copies<0>();
          if constexpr (Norm) {
            const int copied = kd * T::pieces + piece - 1;  // pieces of products before the last copies
            // The last part of plane i + 2, or all, copied while the planes before were multiplied.
            const bool last = T::weights_stay || copied < 0;
            if (last ? i > 0 : copied >= T::pieces && i + 1 < at.march)
              normalise(last ? i + 2 : i + 3, last ? parts - 1 : copied - T::pieces);
          }
          __syncthreads();
        }
        if constexpr (!T::weights_stay) {
          const int next = kd * T::pieces + piece + 1;
          if (next < 3 * T::pieces || i + 1 < at.march)
            copy_weights<threads, T::piece_bytes>(
                weights + (buffer ^ T::piece_bytes),
                packed + (next < 3 * T::pieces ? next : 0) * (T::piece_bytes / 4));
        }
        if constexpr (Gate) {
          // The part of plane i + 3 whose scores are copied now.
          const int next = whole ? 0 : (kd - 1) * T::pieces + piece + 1;
          if ((whole ? piece == 0 && kd == 0 : next >= 0 && next < parts) && i + 1 < at.march)
            Scores::copy(scores + next % 2 * Scores::bytes, gate.scores,
                         Scores::in_row(gate.scores, score_place,
                                        at.h - 1 + Scores::row_of(thread) + next * part_rows),
                         at.d + i + 2, thread);
        }
        // Plane i + 3 takes the place of plane i.
        if (kd > 0 && i + 1 < at.march)
          copy.template part<2 * T::pieces>(planes + i % T::ring * T::plane_bytes, at.d + i + 2, 0,
                                            (kd - 1) * T::pieces + piece);
        ptx::commit_copies();
        multiply_piece<T>(sums, inputs, plane,
                          lane_weights + (T::weights_stay ? kd * T::piece_bytes : buffer), piece);
        if (!T::weights_stay) buffer ^= T::piece_bytes;
      }
    }
    const auto store = [&](const auto& of_voxel) {
      store_tile(totals, out, sums, at.n, at.d + i, at.h + warp_h, at.w + warp_w + g, channel, of_voxel);
    };
    if constexpr (norm_behind) {
      store(VoxelNormGradients{behind.x, norm_of_output.parameters(floats_behind, q * T::lane_channels)});
    } else {
      store(std::conditional_t<moments_wanted, VoxelMoments, NoVoxels>{});
    }
  }
  if constexpr (moments_wanted) {
    ptx::wait_copies<0>();
    store_moments<T::warps, 1>(halo_moments(moments, grid, out.c, T::out_channels),
                               reinterpret_cast<float*>(shared_memory), totals, T::out_channels);
  }
}

struct Operands {
  View<bfloat16> out;
  const OutputStatistics* statistics;  // or null
  View<const bfloat16> in;
  const float* weight;
  HaloWeightOrder order;
  const float* bias;      // or null
  const InputNorm* norm;  // or null
  const NormGradientRequest* behind = nullptr;
  const GatedInput* gated = nullptr;
};

template <class T, Extra Also>
void launch(const Operands& o, int multiprocessors, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const int64_t words = o.out.c / T::out_channels * T::packed_words;
  uint32_t* const packed = scope.allocate<uint32_t>(static_cast<size_t>(words));
  pack_fragments_kernel<T>
      <<<blocks_for(words), block_threads, 0, stream_of(exec)>>>(packed, o.weight, o.order, words);
  check_launch();
  const auto kernel = halo_kernel<T, Also>;
  constexpr int shared_bytes = T::shape.shared_bytes();
  // More than 48 KiB must be asked for; halo_tile_applies() has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const HaloGrid grid = halo_grid(T::height, T::width, o.out.c / T::out_channels, o.out, multiprocessors);
  const int64_t pieces = grid.blocks() / grid.groups;
  float* const moments = Also != Extra::nothing ? allocate_moments(scope, pieces, o.out.c) : nullptr;
  kernel<<<blocks_for(grid.blocks(), 1), T::warps * 32, shared_bytes, stream_of(exec)>>>(
      o.out, moments, o.in, packed, o.bias, grid,
      o.norm != nullptr ? norm_arguments(*o.norm, o.in.c) : NormArguments{},
      o.behind != nullptr ? NormGradientArguments{o.behind->x, norm_arguments(o.behind->norm, o.out.c)}
                          : NormGradientArguments{},
      [&] {
        if constexpr (Also == Extra::moments_and_gate) {
          return gate_arguments(*o.gated);
        } else {
          return NoGate{};
        }
      }());
  check_launch();
  if (o.behind != nullptr) return finish_norm_gradient(*o.behind, moments, pieces, exec);
  if (o.statistics != nullptr) finish_statistics(*o.statistics, moments, pieces, o.out, exec);
}

template <class T>
void launch_one_of(const Operands& o, int multiprocessors, const Exec& exec) {
  if constexpr (!T::weights_stay && T::in_channels % 32 == 0) {
    if (o.gated != nullptr) return launch<T, Extra::moments_and_gate>(o, multiprocessors, exec);
  }
  if (o.behind != nullptr) return launch<T, Extra::norm_gradient>(o, multiprocessors, exec);
  if (o.norm != nullptr) return launch<T, Extra::moments_and_norm>(o, multiprocessors, exec);
  if (o.statistics != nullptr) return launch<T, Extra::moments>(o, multiprocessors, exec);
  launch<T, Extra::nothing>(o, multiprocessors, exec);
}

void convolve(const Operands& o, int multiprocessors, const Exec& exec) {
  const int index = halo_tile_index(o.in.c, o.out.c);
  require(index >= 0, "conv3d on tensor cores: no tile for ", o.in.c, " to ", o.out.c, " channels");
  require(o.norm == nullptr || (o.statistics != nullptr && input_norm_applies(*o.norm)),
          "conv3d on tensor cores: a norm of the input comes with statistics of the output and one slope");
  if (o.out.elements() == 0) return;
  [&]<int... Index>(std::integer_sequence<int, Index...>) {
    ((Index == index ? launch_one_of<Tile<Index>>(o, multiprocessors, exec) : void()), ...);
  }
  (std::make_integer_sequence<int, halo_tile_count>());
}

}  // namespace

void conv3d_forward_halo_tile(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                              const float* bias, const Conv3dParams& params, int multiprocessors,
                              const Exec& exec, const OutputStatistics* statistics, const InputNorm* norm) {
  convolve({y, statistics, x, weight, {params.in_channels * 27, 27, false}, bias, norm}, multiprocessors,
           exec);
}

void conv3d_forward_halo_tile(View<bfloat16> y, const GatedInput& x, const float* weight, const float* bias,
                              const Conv3dParams& params, int multiprocessors, const Exec& exec,
                              const OutputStatistics& statistics) {
  View<const bfloat16> places = x.skip;
  places.c *= 2;
  convolve({y,
            &statistics,
            places,
            weight,
            {params.in_channels * 27, 27, false},
            bias,
            &x.gate.norm_of_x,
            nullptr,
            &x},
           multiprocessors, exec);
}

void conv3d_backward_input_halo_tile(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                     const Conv3dParams& params, int multiprocessors, const Exec& exec,
                                     const NormGradientRequest* norm) {
  convolve({dx, nullptr, dy, weight, {27, params.in_channels * 27, true}, nullptr, nullptr, norm},
           multiprocessors, exec);
}

}  // namespace vg::kernels::cuda
