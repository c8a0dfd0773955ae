// Convolution with kernel 3, stride 1 and padding 1 on tensor cores: a halo tile. A block brings the input
// of its tile of outputs, with one voxel around it, into shared memory once and takes all 27 taps from there.
// It marches along D, so that each plane serves three planes of outputs. Voxels are the rows of the matrix
// products, output channels the columns; a fragment of the input is reused for the taps kh = 0, 1, 2: input
// row r of the fragments feeds output rows r, r - 1, r - 2. The gradient with respect to the input is the
// same kernel with flipped and transposed weights.
#include <utility>

#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_halo.cuh"

namespace vg::kernels::cuda {

namespace {

// A tile's figures as constants, and its weights' order:
// packed[group of output channels][kd][kw][16 input channels][kh][2 fragments of 8 output channels][lane][4]
// of two bfloat16 each: b0, b1 of the first fragment, b0, b1 of the second, so that a lane takes what it
// needs with one load of 16 bytes.
template <int Index>
struct Tile {
  static constexpr HaloTile shape = halo_tiles[Index];
  static constexpr int rows = shape.rows, warps = shape.threads() / 32, warps_w = shape.warps_w,
                       height = shape.height(), width = shape.width(), in_channels = shape.in_channels,
                       out_channels = shape.out_channels, plane_bytes = shape.plane_bytes(),
                       row_bytes = shape.row_bytes(), ring = HaloTile::ring;
  static constexpr int steps = in_channels / 16;       ///< of 16 input channels
  static constexpr int fragments = out_channels / 8;   ///< of 8 output channels
  static constexpr int lane_channels = 2 * fragments;  ///< neighbouring channels that a lane computes
  static constexpr int words_a_load = 32 * 4, loads_a_plane = 9 * steps * fragments / 2,
                       packed_words = 3 * loads_a_plane * words_a_load;
  // Pieces of a plane's products, and the pairs of kw and step of each.
  static constexpr bool weights_stay = shape.weight_pieces == 0;
  static constexpr int pieces = weights_stay ? 1 : shape.weight_pieces, pairs = 3 * steps / pieces,
                       piece_bytes = loads_a_plane * words_a_load * 4 / pieces;
  static_assert(3 * steps % pieces == 0);
  static_assert(packed_words * 4 == shape.weight_bytes());
};

// Where the weight of tap (kd, kh, kw) from reduced channel r to output channel o lies in `weight`.
struct WeightOrder {
  int64_t output_stride, reduced_stride;
  bool flipped;
  __device__ int64_t index(int64_t o, int64_t r, int tap) const {
    return o * output_stride + r * reduced_stride + (flipped ? 26 - tap : tap);
  }
};

// One thread a word of the packed weights. Column n of fragment j is output channel (n / 2) * lane_channels +
// 2 j + n % 2: then a lane, which holds columns 2 q and 2 q + 1 of every fragment, holds neighbouring
// channels.
template <class T>
__global__ void pack_fragments_kernel(uint32_t* packed, const float* weight, WeightOrder order,
                                      int64_t count) {
  const int64_t i = thread_index();
  if (i >= count) return;
  const int word = static_cast<int>(i % 4), lane = static_cast<int>(i / 4 % 32), g = lane / 4, q = lane % 4;
  int rest = static_cast<int>(i / T::words_a_load % (T::packed_words / T::words_a_load));
  const int fragment = rest % (T::fragments / 2) * 2 + word / 2;
  rest /= T::fragments / 2;
  const int kh = rest % 3, step = rest / 3 % T::steps, kw = rest / 3 / T::steps % 3,
            kd = rest / 3 / T::steps / 3;
  const int64_t group = i / T::packed_words;
  const int64_t output = group * T::out_channels + g / 2 * T::lane_channels + 2 * fragment + g % 2,
                reduced = step * 16 + 2 * q + word % 2 * 8;
  const int tap = (kd * 3 + kh) * 3 + kw;
  packed[i] = ptx::pack_bfloat16(weight[order.index(output, reduced, tap)],
                                 weight[order.index(output, reduced + 1, tap)]);
}

// The lane's fragments of weights for one kw and one step of input channels, the pair-th of its piece: all
// kh.
template <class T>
__device__ __forceinline__ void load_weights(uint32_t (&b)[3][T::fragments / 2][4], uint32_t weights,
                                             int pair) {
#pragma unroll
  for (int kh = 0; kh < 3; ++kh) {
#pragma unroll
    for (int j = 0; j < T::fragments / 2; ++j)
      ptx::load_shared_16(b[kh][j],
                          weights + ((pair * 3 + kh) * (T::fragments / 2) + j) * T::words_a_load * 4);
  }
}

// sums += a piece of the products of one plane of the input: some of its pairs of kw and step, all kh.
// `inputs` are the lane's addresses for ldmatrix in the plane's first row, by kw and step; `weights` the
// lane's of this piece.
template <class T>
__device__ __forceinline__ void multiply_piece(float (&sums)[T::rows][T::fragments][4],
                                               const uint32_t (&inputs)[3][T::steps], uint32_t plane,
                                               uint32_t weights, int piece) {
#pragma unroll
  for (int pair = 0; pair < T::pairs; ++pair) {
    const int kw = (piece * T::pairs + pair) / T::steps, step = (piece * T::pairs + pair) % T::steps;
    uint32_t b[3][T::fragments / 2][4];
    load_weights<T>(b, weights, pair);
#pragma unroll
    for (int row = 0; row < T::rows + 2; ++row) {
      uint32_t a[4];
      ptx::load_matrix_x4(a, inputs[kw][step] + plane + row * T::row_bytes);
#pragma unroll
      for (int kh = 0; kh < 3; ++kh) {
        if (row - kh < 0 || row - kh >= T::rows) continue;
#pragma unroll
        for (int j = 0; j < T::fragments; ++j)
          ptx::mma_m16n8k16(sums[row - kh][j], a, b[kh][j / 2][j % 2 * 2], b[kh][j / 2][j % 2 * 2 + 1]);
      }
    }
  }
}

// What a kernel does beside the convolution. All but the first leave `moments`, a piece from each block.
enum class Extra {
  nothing,
  moments,           // of the output
  moments_and_norm,  // ... and a norm is applied to the input
  norm_gradient      // what the norm of which the output is the gradient needs, see NormGradientArguments
};

template <class T, Extra Also>
__global__ void __launch_bounds__(T::warps * 32, 2)
    halo_kernel(View<bfloat16> out, float* moments, View<const bfloat16> in, const uint32_t* packed,
                const float* bias, HaloGrid grid, NormArguments norm_of_input, NormGradientArguments behind) {
  constexpr bool moments_wanted = Also != Extra::nothing, Norm = Also == Extra::moments_and_norm,
                 norm_behind = Also == Extra::norm_gradient;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t planes = ptx::shared_address(shared_memory), weights = planes + T::ring * T::plane_bytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, g = lane / 4, q = lane % 4;
  const int warp_h = thread / 32 / T::warps_w * 2 * T::rows, warp_w = thread / 32 % T::warps_w * 8;
  const HaloPosition at = halo_position(grid, T::height, T::width, out.d);
  packed += at.group * T::packed_words;
  const int64_t channel = at.group * T::out_channels + q * T::lane_channels;

  constexpr int threads = T::warps * 32;
  const PlaneCopy<threads, T::height + 2, T::width + 2, T::in_channels> copy(in, at.n, at.h - 1, at.w - 1);
  // The planes around the first plane of outputs, with weights: the first piece, or all.
  copy_weights<threads, T::weights_stay ? T::packed_words * 4 : T::piece_bytes>(weights, packed);
#pragma unroll 1
  for (int i = 0; i < T::ring; ++i) copy(planes + i * T::plane_bytes, at.d - 1 + i);
  ptx::commit_copies();
  using Table = NormTable<T::in_channels>;
  __shared__ __align__(16) float norm_floats[Norm ? Table::floats : 1];
  const std::conditional_t<Norm, Table, NoNorm> norm(norm_floats, norm_of_input, at.n, 0);
  using TableBehind = NormTable<T::out_channels>;
  __shared__ __align__(16) float floats_behind[norm_behind ? TableBehind::floats : 1];
  const std::conditional_t<norm_behind, TableBehind, NoNorm> norm_of_output(floats_behind, behind.norm, at.n,
                                                                            at.group * T::out_channels);
  static_assert(T::shape.shared_bytes() + sizeof(floats_behind) <= 99 * 1024);
  if constexpr (norm_behind) __syncthreads();
  if constexpr (Norm) {
    static_assert(T::shape.shared_bytes() + sizeof(norm_floats) <= 99 * 1024);
    __syncthreads();
    ptx::wait_copies<0>();
#pragma unroll 1
    for (int i = 0; i < T::ring; ++i)
      copy.template normalise<1>(norm, planes + i * T::plane_bytes, at.d - 1 + i, 0);
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
            if (T::weights_stay || copied < 0) {
              // Plane i + 2, or its last part, copied while the planes before were multiplied.
              if (i > 0)
                copy.template normalise<T::weights_stay ? 1 : 2 * T::pieces>(
                    norm, planes + (i + 2) % T::ring * T::plane_bytes, at.d + i + 1,
                    T::weights_stay ? 0 : 2 * T::pieces - 1);
            } else if (copied >= T::pieces && i + 1 < at.march) {
              copy.template normalise<2 * T::pieces>(norm, planes + i % T::ring * T::plane_bytes,
                                                     at.d + i + 2, copied - T::pieces);
            }
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
  WeightOrder order;
  const float* bias;      // or null
  const InputNorm* norm;  // or null
  const NormGradientRequest* behind = nullptr;
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
                          : NormGradientArguments{});
  check_launch();
  if (o.behind != nullptr) return finish_norm_gradient(*o.behind, moments, pieces, exec);
  if (o.statistics != nullptr) finish_statistics(*o.statistics, moments, pieces, o.out, exec);
}

template <class T>
void launch_one_of(const Operands& o, int multiprocessors, const Exec& exec) {
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

void conv3d_backward_input_halo_tile(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                     const Conv3dParams& params, int multiprocessors, const Exec& exec,
                                     const NormGradientRequest* norm) {
  convolve({dx, nullptr, dy, weight, {27, params.in_channels * 27, true}, nullptr, nullptr, norm},
           multiprocessors, exec);
}

}  // namespace vg::kernels::cuda
