// Convolution with kernel 3, stride 2 and padding 1 on tensor cores; also the gradient of the transposed
// convolution with respect to its input. Voxels are the rows of the matrix products, output channels the
// columns. A block brings planes of 16 channels of its input into shared memory, where even and odd columns
// lie apart; fine row r of a fragment feeds the coarse rows (r - kh) / 2 whose tap kh it is, so that odd rows
// are used once and even ones twice.
#include <utility>

#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_strided_products.cuh"

namespace vg::kernels::cuda {

namespace {

template <int Index>
using Tile = StridedForward<Index>;
template <class T>
using Sums = StridedForwardSums<T>;

// What a stage holds: plane kd of 16 channels for the i-th plane of outputs.
struct Stage {
  int i = 0, step = 0, kd = 0;
  __device__ void advance(int steps) {
    if (++kd < 3) return;
    kd = 0;
    if (++step < steps) return;
    step = 0;
    ++i;
  }
};

// The copies of a block's planes and weights, and where the stage in use lies. One call of next() a stage.
// `Norm` is a table for all input channels, or NoNorm.
template <class T, class Norm>
class Pipeline {
 public:
  __device__ Pipeline(uint32_t shared, const View<const bfloat16>& in, const uint32_t* packed,
                      const HaloPosition& at)
      : copy_(in, at.n, 2 * at.h - 1, [&](int entry) { return 2 * at.w - 1 + StridedTile::column(entry); }),
        planes_(shared),
        weights_(shared + T::stages * T::plane_bytes),
        packed_(packed),
        steps_(static_cast<int>(in.c) / StridedTile::channels),
        march_(at.march),
        first_d_(2 * at.d - 1) {
    if constexpr (T::march) {
      copy_weights<T::threads, 3 * T::weight_bytes>(weights_, packed_);
#pragma unroll 1
      for (int i = 0; i < 3; ++i) {
        copy_plane_of_ring(i);
        ptx::commit_copies();
      }
    } else {
      copy_stage();
    }
  }

  // Waits for the next stage, applies the norm to it and starts the copies that take the place of what has
  // been used.
  __device__ __forceinline__ void next(const Norm& norm, int i, int step, int kd) {
    ptx::wait_copies<T::march ? 2 : 0>();
    if constexpr (!std::is_same_v<Norm, NoNorm>) {
      // Of the ring, plane 2 i is the plane 2 (i - 1) + 2 of the output before.
      if (!T::march || kd > 0 || i == 0)
        copy_.template normalise<1>(norm,
                                    planes_ + (T::march ? (2 * i + kd) % 3 : place_ ^ 1) * T::plane_bytes,
                                    first_d_ + 2 * i + kd, 0, step * (StridedTile::channels / 8));
    }
    __syncthreads();
    if constexpr (T::march) {
      plane_ = (2 * i + kd) % 3;
      weight_ = kd;
      // Planes 2 i and 2 i + 1 are done with after their taps; plane 2 i + 2 is the next output's first.
      if (kd > 0 && i + 1 < march_) copy_plane_of_ring(2 * i + 2 + kd);
      ptx::commit_copies();
    } else {
      plane_ = weight_ = place_ ^ 1;
      if (copied_.i < march_) copy_stage();
    }
  }

  __device__ uint32_t plane() const {
    return planes_ + plane_ * T::plane_bytes;
  }
  __device__ uint32_t weights() const {
    return weights_ + weight_ * T::weight_bytes;
  }
  __device__ int steps() const {
    return steps_;
  }

 private:
  __device__ __forceinline__ void copy_plane_of_ring(int i) {
    copy_(planes_ + i % 3 * T::plane_bytes, first_d_ + i, 0);
  }
  __device__ __forceinline__ void copy_stage() {
    copy_(planes_ + place_ * T::plane_bytes, first_d_ + 2 * copied_.i + copied_.kd,
          copied_.step * StridedTile::channels);
    copy_weights<T::threads, T::weight_bytes>(
        weights_ + place_ * T::weight_bytes,
        packed_ + (copied_.step * 3 + copied_.kd) * (T::weight_bytes / 4));
    ptx::commit_copies();
    copied_.advance(steps_);
    place_ ^= 1;
  }

  PlaneCopy<T::threads, StridedTile::fine_rows, StridedTile::fine_columns, StridedTile::channels> copy_;
  uint32_t planes_, weights_;
  const uint32_t* packed_;
  int steps_, march_, first_d_;
  Stage copied_;
  int place_ = 0, plane_ = 0, weight_ = 0;
};

// What a kernel does beside the convolution.
enum class Extra {
  nothing,
  moments,          // of the output: `moments` receives a piece from each block
  moments_and_norm  // ... and a norm is applied to the input
};

template <class T, Extra Also>
__global__ void __launch_bounds__(T::threads, 2)
    strided_kernel(View<bfloat16> out, float* moments, View<const bfloat16> in, const uint32_t* packed,
                   const float* bias, HaloGrid grid, NormArguments norm_of_input) {
  constexpr bool Moments = Also != Extra::nothing, Norm = Also == Extra::moments_and_norm;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, g = lane / 4, q = lane % 4;
  const int warp_h = thread / 32 / T::warps_c * 2 * T::rows, warp_c = thread / 32 % T::warps_c;
  const HaloPosition at = halo_position(grid, T::height, T::width, out.d);
  const int64_t channel = at.group * T::out_channels + warp_c * (8 * T::fragments) + q * (2 * T::fragments);
  packed += at.group * (in.c / StridedTile::channels) * (3 * T::weight_bytes / 4);
  using Table = std::conditional_t<Norm, NormTable<strided_norm_channels>, NoNorm>;
  Pipeline<T, Table> pipeline(ptx::shared_address(shared_memory), in, packed, at);
  __shared__ __align__(16) float norm_floats[Norm ? NormTable<strided_norm_channels>::floats : 1];
  const Table norm(norm_floats, norm_of_input, at.n, 0, static_cast<int>(in.c));
  if constexpr (Norm) __syncthreads();

  uint32_t inputs[3];
  strided_inputs<T::rows>(inputs, warp_h);
  const uint32_t weights = (warp_c * (T::fragments / 2) * 32 + lane) * 16;
  float totals[T::fragments / 2] = {};
#pragma unroll 1
  for (int i = 0; i < at.march; ++i) {
    Sums<T> sums;
    start_sums(sums, bias == nullptr || channel >= out.c ? nullptr : bias + channel);
#pragma unroll 1
    for (int step = 0; step < pipeline.steps(); ++step) {
#pragma unroll 1
      for (int kd = 0; kd < 3; ++kd) {
        pipeline.next(norm, i, step, kd);
        strided_multiply<T>(sums, inputs, pipeline.plane(), pipeline.weights() + weights);
      }
    }
    // Channels that do not exist are not stored, as voxels beyond the edge.
    const int w = channel < out.c ? at.w + g : static_cast<int>(out.w);
    store_tile(totals, out, sums, at.n, at.d + i, at.h + warp_h, w, channel,
               std::conditional_t<Moments, VoxelMoments, NoVoxels>{});
  }
  if constexpr (Moments) {
    ptx::wait_copies<0>();
    store_moments<T::threads / 32, T::warps_c>(halo_moments(moments, grid, out.c, T::out_channels),
                                               reinterpret_cast<float*>(shared_memory), totals,
                                               out.c - at.group * T::out_channels);
  }
}

struct Operands {
  View<bfloat16> out;
  const OutputStatistics* statistics;  // or null
  View<const bfloat16> in;
  StridedWeights weights;
  const float* bias;      // or null
  const InputNorm* norm;  // or null
};

template <class T, Extra Also>
void launch(const Operands& o, int multiprocessors, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const uint32_t* const packed =
      pack_strided_weights(o.weights, o.out.c, o.in.c, T::out_channels, T::fragments, scope, exec);
  constexpr bool Moments = Also != Extra::nothing;
  const auto kernel = strided_kernel<T, Also>;
  constexpr int shared_bytes = T::shape.shared_bytes();
  static_assert(shared_bytes + sizeof(float) * NormTable<strided_norm_channels>::floats <= 99 * 1024);
  // More than 48 KiB must be asked for; strided_applies() has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const HaloGrid grid = halo_grid(T::height, T::width, (o.out.c + T::out_channels - 1) / T::out_channels,
                                  o.out, multiprocessors);
  const int64_t pieces = grid.blocks() / grid.groups;
  float* const moments = Moments ? allocate_moments(scope, pieces, o.out.c) : nullptr;
  kernel<<<blocks_for(grid.blocks(), 1), T::threads, shared_bytes, stream_of(exec)>>>(
      o.out, moments, o.in, packed, o.bias, grid,
      o.norm != nullptr ? norm_arguments(*o.norm, o.in.c) : NormArguments{});
  check_launch();
  if (Moments) finish_statistics(*o.statistics, moments, pieces, o.out, exec);
}

template <class T>
void launch_one_of(const Operands& o, int multiprocessors, const Exec& exec) {
  if (o.norm != nullptr) return launch<T, Extra::moments_and_norm>(o, multiprocessors, exec);
  if (o.statistics != nullptr) return launch<T, Extra::moments>(o, multiprocessors, exec);
  launch<T, Extra::nothing>(o, multiprocessors, exec);
}

__global__ void pack_strided_weights_kernel(uint32_t* packed, StridedWeights weights, int64_t out_channels,
                                            int64_t reduced_channels, int group_channels, int fragments,
                                            int64_t count) {
  const int64_t i = thread_index();
  if (i >= count) return;
  const int word = static_cast<int>(i % 4), lane = static_cast<int>(i / 4 % 32), g = lane / 4, q = lane % 4;
  int64_t rest = i / 128;
  const int pairs = group_channels / 16, pair = static_cast<int>(rest % pairs);
  rest /= pairs;
  const int tap = static_cast<int>(rest % 27);
  rest /= 27;
  const int64_t steps = reduced_channels / 16, step = rest % steps, group = rest / steps;
  const int fragment = pair * 2 + word / 2, of_warp = fragment % fragments;
  const int64_t output = group * group_channels + fragment / fragments * fragments * 8 +
                         g / 2 * 2 * fragments + 2 * of_warp + g % 2,
                reduced = step * 16 + 2 * q + word % 2 * 8;
  const float* const from =
      weights.data + output * weights.output_stride + reduced * weights.reduced_stride + tap;
  packed[i] = output < out_channels ? ptx::pack_bfloat16(from[0], from[weights.reduced_stride]) : 0;
}

}  // namespace

uint32_t* pack_strided_weights(const StridedWeights& weights, int64_t out_channels, int64_t reduced_channels,
                               int group_channels, int fragments, WorkspaceScope& scope, const Exec& exec) {
  const int64_t groups = (out_channels + group_channels - 1) / group_channels,
                words = 27 * groups * group_channels * reduced_channels / 2;
  uint32_t* const packed = scope.allocate<uint32_t>(static_cast<size_t>(words));
  pack_strided_weights_kernel<<<blocks_for(words), block_threads, 0, stream_of(exec)>>>(
      packed, weights, out_channels, reduced_channels, group_channels, fragments, words);
  check_launch();
  return packed;
}

bool strided_norm_applies(const InputNorm& norm, int64_t in_channels) {
  return input_norm_applies(norm) && in_channels <= strided_norm_channels;
}

void conv3d_forward_strided(View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias,
                            int multiprocessors, const Exec& exec, const OutputStatistics* statistics,
                            const InputNorm* norm) {
  require(norm == nullptr || (statistics != nullptr && strided_norm_applies(*norm, x.c)),
          "conv3d on tensor cores: a norm of the input comes with statistics of the output and one slope");
  const int index = strided_forward_tile_index(x.c, y.c);
  require(index >= 0, "conv3d on tensor cores: no tile for ", x.c, " to ", y.c, " channels");
  if (y.elements() == 0) return;
  const Operands operands{y, statistics, x, {weight, x.c * 27, 27}, bias, norm};
  [&]<int... Index>(std::integer_sequence<int, Index...>) {
    ((Index == index ? launch_one_of<Tile<Index>>(operands, multiprocessors, exec) : void()), ...);
  }
  (std::make_integer_sequence<int, strided_forward_tile_count>());
}

}  // namespace vg::kernels::cuda
