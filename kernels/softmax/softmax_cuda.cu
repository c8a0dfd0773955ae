// One thread a voxel: a warp's loads together cover one run of memory, and no thread needs another's value.
#include "kernels/softmax/softmax_impl.h"
#include "kernels/softmax/softmax_voxel.cuh"

namespace vg::kernels::cuda {

namespace {

template <int Channels, class T>
__global__ void softmax_forward_kernel(VoxelPointer<T> y, VoxelPointer<const T> x, bool vectors) {
  const int64_t i = thread_index();
  if (i >= x.view.voxels()) return;
  const VoxelValues<Channels, T> values(x(i), vectors);
  const SoftmaxStatistics s = softmax_statistics(values, x.view.c);
  const float factor = 1 / s.sum;
  write_voxel<Channels>(y(i), vectors, x.view.c,
                        [&](int64_t c) { return expf(values[c] - s.maximum) * factor; });
}

template <int Channels, class T>
__global__ void softmax_backward_kernel(VoxelPointer<T> dx, VoxelPointer<const T> dy, VoxelPointer<const T> y,
                                        bool vectors) {
  const int64_t i = thread_index(), channels = y.view.c;
  if (i >= y.view.voxels()) return;
  const VoxelValues<Channels, T> gradient(dy(i), vectors), probability(y(i), vectors);
  float dot = 0;
#pragma unroll
  for (int64_t c = 0; c < (Channels > 0 ? Channels : channels); ++c) dot += gradient[c] * probability[c];
  write_voxel<Channels>(dx(i), vectors, channels,
                        [&](int64_t c) { return probability[c] * (gradient[c] - dot); });
}

template <int Channels, class T>
__global__ void argmax_kernel(VoxelPointer<uint8_t> labels, VoxelPointer<const T> x, bool vectors) {
  const int64_t i = thread_index(), channels = x.view.c;
  if (i >= x.view.voxels()) return;
  const VoxelValues<Channels, T> values(x(i), vectors);
  float largest = values[0];
  int64_t index = 0;
#pragma unroll
  for (int64_t c = 1; c < (Channels > 0 ? Channels : channels); ++c) {
    const float value = values[c];
    if (value > largest || (value != value && largest == largest)) largest = value, index = c;
  }
  *labels(i) = static_cast<uint8_t>(index);
}

template <class T>
void launch_softmax_forward(View<T> y, View<const T> x, const Exec& exec) {
  dispatch_channels(x.c, [&](auto channels) {
    softmax_forward_kernel<decltype(channels)::value, T>
        <<<blocks_for(x.voxels()), block_threads, 0, stream_of(exec)>>>(VoxelPointer(y), VoxelPointer(x),
                                                                        vector_voxels(x) && vector_voxels(y));
  });
  check_launch();
}

template <class T>
void launch_softmax_backward(View<T> dx, View<const T> dy, View<const T> y, const Exec& exec) {
  dispatch_channels(y.c, [&](auto channels) {
    softmax_backward_kernel<decltype(channels)::value, T>
        <<<blocks_for(y.voxels()), block_threads, 0, stream_of(exec)>>>(
            VoxelPointer(dx), VoxelPointer(dy), VoxelPointer(y),
            vector_voxels(dx) && vector_voxels(dy) && vector_voxels(y));
  });
  check_launch();
}

template <class T>
void launch_argmax(View<uint8_t> labels, View<const T> x, const Exec& exec) {
  dispatch_channels(x.c, [&](auto channels) {
    argmax_kernel<decltype(channels)::value, T>
        <<<blocks_for(x.voxels()), block_threads, 0, stream_of(exec)>>>(VoxelPointer(labels), VoxelPointer(x),
                                                                        vector_voxels(x));
  });
  check_launch();
}

}  // namespace

void softmax_forward(View<float> y, View<const float> x, const Exec& exec) {
  launch_softmax_forward(y, x, exec);
}
void softmax_forward(View<bfloat16> y, View<const bfloat16> x, const Exec& exec) {
  launch_softmax_forward(y, x, exec);
}

void softmax_backward(View<float> dx, View<const float> dy, View<const float> y, const Exec& exec) {
  launch_softmax_backward(dx, dy, y, exec);
}
void softmax_backward(View<bfloat16> dx, View<const bfloat16> dy, View<const bfloat16> y, const Exec& exec) {
  launch_softmax_backward(dx, dy, y, exec);
}

void argmax_channels(View<uint8_t> labels, View<const float> x, const Exec& exec) {
  launch_argmax(labels, x, exec);
}
void argmax_channels(View<uint8_t> labels, View<const bfloat16> x, const Exec& exec) {
  launch_argmax(labels, x, exec);
}

}  // namespace vg::kernels::cuda
