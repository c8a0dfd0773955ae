// One thread a voxel; the loss is a grid reduction with a fixed partition.
#include "kernels/common/reduce.cuh"
#include "kernels/cross_entropy/cross_entropy_impl.h"
#include "kernels/softmax/softmax_voxel.cuh"

namespace vg::kernels::cuda {

namespace {

__device__ inline float weight_of(const float* class_weights, int label) {
  return class_weights == nullptr ? 1.0f : class_weights[label];
}

template <int Channels, class T>
struct Terms {
  VoxelPointer<const T> logits;
  VoxelPointer<const uint8_t> labels;
  const float* class_weights;
  bool vectors;

  __device__ void operator()(int64_t i, float (&sums)[2]) const {
    const int label = *labels(i);
    if (label >= logits.view.c) return;
    const T* const p = logits(i);
    const VoxelValues<Channels, T> values(p, vectors);
    const SoftmaxStatistics s = softmax_statistics(values, logits.view.c);
    const float weight = weight_of(class_weights, label);
    sums[0] += weight * (logf(s.sum) - (to_float(p[label]) - s.maximum));
    sums[1] += weight;
  }
};

struct Finish {
  float *loss, *weight_sum;
  CrossEntropyParams params;
  __device__ void operator()(const double (&sums)[2]) const {
    cross_entropy_finish(loss, weight_sum, sums[0], sums[1], params);
  }
};

template <int Channels, class T>
__global__ void backward_kernel(VoxelPointer<T> dlogits, const float* dloss, const float* weight_sum,
                                VoxelPointer<const T> logits, VoxelPointer<const uint8_t> labels,
                                const float* class_weights, CrossEntropyParams params, bool vectors) {
  const int64_t i = thread_index(), channels = logits.view.c;
  if (i >= logits.view.voxels()) return;
  const int label = *labels(i);
  T* const out = dlogits(i);
  if (label >= channels) return write_voxel<Channels>(out, vectors, channels, [](int64_t) { return 0.0f; });
  const VoxelValues<Channels, T> values(logits(i), vectors);
  const SoftmaxStatistics s = softmax_statistics(values, channels);
  const float scale = params.mean ? dloss[0] / weight_sum[0] : dloss[0];
  const float factor = weight_of(class_weights, label) * scale, inverse = 1 / s.sum;
  write_voxel<Channels>(out, vectors, channels, [&](int64_t c) {
    return (expf(values[c] - s.maximum) * inverse - (c == label ? 1.0f : 0.0f)) * factor;
  });
}

template <class T>
void launch_forward(float* loss, float* weight_sum, View<const T> logits, View<const uint8_t> labels,
                    const float* class_weights, const CrossEntropyParams& params, const Exec& exec) {
  dispatch_channels(logits.c, [&](auto channels) {
    grid_sums<2>(logits.voxels(),
                 Terms<decltype(channels)::value, T>{VoxelPointer(logits), VoxelPointer(labels),
                                                     class_weights, vector_voxels(logits)},
                 Finish{loss, weight_sum, params}, exec);
  });
}

template <class T>
void launch_backward(View<T> dlogits, const float* dloss, const float* weight_sum, View<const T> logits,
                     View<const uint8_t> labels, const float* class_weights, const CrossEntropyParams& params,
                     const Exec& exec) {
  dispatch_channels(logits.c, [&](auto channels) {
    backward_kernel<decltype(channels)::value, T>
        <<<blocks_for(logits.voxels()), block_threads, 0, stream_of(exec)>>>(
            VoxelPointer(dlogits), dloss, weight_sum, VoxelPointer(logits), VoxelPointer(labels),
            class_weights, params, vector_voxels(logits) && vector_voxels(dlogits));
  });
  check_launch();
}

}  // namespace

void cross_entropy_forward(float* loss, float* weight_sum, View<const float> logits,
                           View<const uint8_t> labels, const float* class_weights,
                           const CrossEntropyParams& params, const Exec& exec) {
  launch_forward(loss, weight_sum, logits, labels, class_weights, params, exec);
}
void cross_entropy_forward(float* loss, float* weight_sum, View<const bfloat16> logits,
                           View<const uint8_t> labels, const float* class_weights,
                           const CrossEntropyParams& params, const Exec& exec) {
  launch_forward(loss, weight_sum, logits, labels, class_weights, params, exec);
}

void cross_entropy_backward(View<float> dlogits, const float* dloss, const float* weight_sum,
                            View<const float> logits, View<const uint8_t> labels, const float* class_weights,
                            const CrossEntropyParams& params, const Exec& exec) {
  launch_backward(dlogits, dloss, weight_sum, logits, labels, class_weights, params, exec);
}
void cross_entropy_backward(View<bfloat16> dlogits, const float* dloss, const float* weight_sum,
                            View<const bfloat16> logits, View<const uint8_t> labels,
                            const float* class_weights, const CrossEntropyParams& params, const Exec& exec) {
  launch_backward(dlogits, dloss, weight_sum, logits, labels, class_weights, params, exec);
}

}  // namespace vg::kernels::cuda
