// Forward: one thread looks at voxels `block_threads` apart and sums up to four channels in registers; blocks
// write partial sums, which a block for each sample and channel adds in a fixed order. Backward: a small
// kernel finds the slopes of every sample and channel, then one thread a voxel recomputes the activation.
#include "kernels/common/reduce.cuh"
#include "kernels/dice/dice_impl.h"
#include "kernels/softmax/softmax_voxel.cuh"

namespace vg::kernels::cuda {

namespace {

// Channels that a thread sums at once; more are covered by more blocks, which repeat the softmax's sum.
constexpr int channel_group = 4;

// The predictions of one voxel: in registers if the number of channels is known at compile time ...
template <int Channels, class T>
struct Predictions : VoxelValues<Channels, T> {
  __device__ Predictions(const T* p, bool vectors, int64_t channels, DiceActivation activation)
      : VoxelValues<Channels, T>(p, vectors) {
    if (activation == DiceActivation::softmax) {
      const SoftmaxStatistics s = softmax_statistics(*this, channels);
      const float factor = 1 / s.sum;
#pragma unroll
      for (float& value : this->values) value = expf(value - s.maximum) * factor;
    } else if (activation == DiceActivation::sigmoid) {
#pragma unroll
      for (float& value : this->values) value = 1 / (1 + expf(-value));
    }
  }
};
// ... else computed from the logits each time.
template <class T>
struct Predictions<0, T> {
  VoxelValues<0, T> logits;
  DiceActivation activation;
  SoftmaxStatistics statistics{};

  __device__ Predictions(const T* p, bool vectors, int64_t channels, DiceActivation kind)
      : logits(p, vectors), activation(kind) {
    if (activation != DiceActivation::softmax) return;
    statistics = softmax_statistics(logits, channels);
    statistics.sum = 1 / statistics.sum;
  }
  __device__ float operator[](int64_t c) const {
    const float x = logits[c];
    if (activation == DiceActivation::softmax) return expf(x - statistics.maximum) * statistics.sum;
    return activation == DiceActivation::sigmoid ? 1 / (1 + expf(-x)) : x;
  }
};

// The target of channel c at a voxel of labels: class index, or 0 and 1 for each channel.
__device__ inline float target(const uint8_t* labels, bool indices, int64_t c) {
  return (indices ? labels[0] == c : labels[c] != 0) ? 1.0f : 0.0f;
}

// Blocks ride grid.x as [sample][channel group][piece]. partials: [n * c][dice_sum_count][pieces].
template <int Channels, class T>
__global__ void sums_kernel(double* partials, VoxelPointer<const T> logits,
                            VoxelPointer<const uint8_t> labels, DiceActivation activation, bool squared,
                            int64_t pieces, bool vectors) {
  const int64_t voxels = logits.view.d * logits.view.h * logits.view.w, c = logits.view.c;
  const int64_t groups = (c + channel_group - 1) / channel_group;
  const int64_t piece = blockIdx.x % pieces, group = blockIdx.x / pieces % groups,
                n = blockIdx.x / pieces / groups, first_channel = group * channel_group;
  const int64_t first = piece * (block_threads * items_a_thread),
                limit = min(voxels, first + block_threads * items_a_thread);
  const bool indices = labels.view.c != c;

  float sums[channel_group][dice_sum_count] = {};
  for (int64_t i = first + threadIdx.x; i < limit; i += block_threads) {
    const Predictions<Channels, T> p(logits(n * voxels + i), vectors, c, activation);
    const uint8_t* const label = labels(n * voxels + i);
#pragma unroll
    for (int k = 0; k < channel_group; ++k) {
      if (k >= (Channels > 0 ? Channels : channel_group) || first_channel + k >= c) break;
      const int64_t channel = (Channels > 0 ? 0 : first_channel) + k;
      const float prediction = p[channel], t = target(label, indices, channel);
      sums[k][intersection_sum] += prediction * t;
      sums[k][prediction_sum] += squared ? prediction * prediction : prediction;
      sums[k][target_sum] += t;
    }
  }
  for (int k = 0; k < channel_group && first_channel + k < c; ++k) {
    for (int s = 0; s < dice_sum_count; ++s) {
      const double sum = block_sum(static_cast<double>(sums[k][s]));
      if (threadIdx.x == 0)
        partials[((n * c + first_channel + k) * dice_sum_count + s) * pieces + piece] = sum;
    }
  }
}

struct StoreSums {
  float* sums;
  __device__ void operator()(int64_t index, const double (&values)[dice_sum_count]) const {
    for (int s = 0; s < dice_sum_count; ++s) sums[index * dice_sum_count + s] = static_cast<float>(values[s]);
  }
};

__global__ void loss_kernel(float* loss, DiceShape shape, const float* sums, const float* class_weights) {
  dice_reduce(loss, shape, sums, class_weights);
}

__global__ void slopes_kernel(DiceSlopes* slopes, DiceShape shape, const float* dloss, const float* sums,
                              const float* class_weights) {
  const int64_t i = thread_index();
  if (i < shape.n * shape.c)
    slopes[i] = dice_slopes(shape, dloss, sums, class_weights, i / shape.c, i % shape.c);
}

// Blocks ride grid.x as [sample][block].
template <int Channels, class T>
__global__ void backward_kernel(VoxelPointer<T> dlogits, VoxelPointer<const T> logits,
                                VoxelPointer<const uint8_t> labels, const DiceSlopes* slopes,
                                DiceActivation activation, bool squared, int64_t blocks, bool vectors) {
  const int64_t voxels = logits.view.d * logits.view.h * logits.view.w, n = blockIdx.x / blocks,
                within = blockIdx.x % blocks * block_threads + threadIdx.x, i = n * voxels + within;
  if (within >= voxels) return;
  const int64_t c = Channels > 0 ? Channels : logits.view.c;
  const bool indices = labels.view.c != logits.view.c;
  const Predictions<Channels, T> p(logits(i), vectors, c, activation);
  const uint8_t* const label = labels(i);
  const DiceSlopes* const slope = slopes + n * c;
  const auto of_prediction = [&](int64_t k) {
    return slope[k].of_target * target(label, indices, k) + slope[k].of_prediction * (squared ? p[k] : 1.0f);
  };
  float dot = 0;
  if (activation == DiceActivation::softmax) {
#pragma unroll
    for (int64_t k = 0; k < c; ++k) dot += of_prediction(k) * p[k];
  }
  write_voxel<Channels>(dlogits(i), vectors, c, [&](int64_t k) {
    const float gradient = of_prediction(k);
    if (activation == DiceActivation::softmax) return p[k] * (gradient - dot);
    return activation == DiceActivation::sigmoid ? gradient * p[k] * (1 - p[k]) : gradient;
  });
}

template <class T>
void launch_forward(float* loss, float* sums, View<const T> logits, View<const uint8_t> labels,
                    const float* class_weights, const DiceParams& params, const Exec& exec) {
  const DiceShape shape{logits.n, logits.c, params};
  const int64_t groups = (logits.c + channel_group - 1) / channel_group, ratios = logits.n * logits.c;
  const int64_t pieces = blocks_for(logits.d * logits.h * logits.w, block_threads * items_a_thread);
  WorkspaceScope scope(*exec.workspace);
  double* const partials = scope.allocate<double>(static_cast<size_t>(ratios * dice_sum_count * pieces));
  dispatch_channels(logits.c, [&](auto channels) {
    sums_kernel<decltype(channels)::value, T>
        <<<static_cast<unsigned>(logits.n * groups * pieces), block_threads, 0, stream_of(exec)>>>(
            partials, VoxelPointer(logits), VoxelPointer(labels), shape.activation(),
            params.squared_prediction, pieces, vector_voxels(logits));
  });
  check_launch();
  finish_channel_sums_kernel<dice_sum_count>
      <<<static_cast<unsigned>(ratios), block_threads, 0, stream_of(exec)>>>(StoreSums{sums}, partials,
                                                                             pieces);
  check_launch();
  // One thread: there are a few numbers to add.
  loss_kernel<<<1, 1, 0, stream_of(exec)>>>(loss, shape, sums, class_weights);
  check_launch();
}

template <class T>
void launch_backward(View<T> dlogits, const float* dloss, const float* sums, View<const T> logits,
                     View<const uint8_t> labels, const float* class_weights, const DiceParams& params,
                     const Exec& exec) {
  const DiceShape shape{logits.n, logits.c, params};
  WorkspaceScope scope(*exec.workspace);
  DiceSlopes* const slopes = scope.allocate<DiceSlopes>(static_cast<size_t>(logits.n * logits.c));
  slopes_kernel<<<blocks_for(logits.n * logits.c), block_threads, 0, stream_of(exec)>>>(slopes, shape, dloss,
                                                                                        sums, class_weights);
  check_launch();
  const int64_t blocks = blocks_for(logits.d * logits.h * logits.w);
  dispatch_channels(logits.c, [&](auto channels) {
    backward_kernel<decltype(channels)::value, T>
        <<<static_cast<unsigned>(logits.n * blocks), block_threads, 0, stream_of(exec)>>>(
            VoxelPointer(dlogits), VoxelPointer(logits), VoxelPointer(labels), slopes, shape.activation(),
            params.squared_prediction, blocks, vector_voxels(logits) && vector_voxels(dlogits));
  });
  check_launch();
}

}  // namespace

void dice_forward(float* loss, float* sums, View<const float> logits, View<const uint8_t> labels,
                  const float* class_weights, const DiceParams& params, const Exec& exec) {
  launch_forward(loss, sums, logits, labels, class_weights, params, exec);
}
void dice_forward(float* loss, float* sums, View<const bfloat16> logits, View<const uint8_t> labels,
                  const float* class_weights, const DiceParams& params, const Exec& exec) {
  launch_forward(loss, sums, logits, labels, class_weights, params, exec);
}

void dice_backward(View<float> dlogits, const float* dloss, const float* sums, View<const float> logits,
                   View<const uint8_t> labels, const float* class_weights, const DiceParams& params,
                   const Exec& exec) {
  launch_backward(dlogits, dloss, sums, logits, labels, class_weights, params, exec);
}
void dice_backward(View<bfloat16> dlogits, const float* dloss, const float* sums, View<const bfloat16> logits,
                   View<const uint8_t> labels, const float* class_weights, const DiceParams& params,
                   const Exec& exec) {
  launch_backward(dlogits, dloss, sums, logits, labels, class_weights, params, exec);
}

}  // namespace vg::kernels::cuda
