// One thread a voxel: a warp's loads together cover one run of memory, and no thread needs another's value.
#include "kernels/softmax/softmax_impl.h"
#include "kernels/softmax/softmax_voxel.cuh"

namespace vg::kernels::cuda {

namespace {

template <int Channels>
__global__ void softmax_forward_kernel(View<float> y, View<const float> x, bool vectors) {
  const int64_t i = thread_index();
  if (i >= x.voxels()) return;
  const VoxelValues<Channels> values(voxel(x, i), vectors);
  const SoftmaxStatistics s = softmax_statistics(values, x.c);
  const float factor = 1 / s.sum;
  write_voxel<Channels>(voxel(y, i), vectors, x.c,
                        [&](int64_t c) { return expf(values[c] - s.maximum) * factor; });
}

template <int Channels>
__global__ void softmax_backward_kernel(View<float> dx, View<const float> dy, View<const float> y,
                                        bool vectors) {
  const int64_t i = thread_index();
  if (i >= y.voxels()) return;
  const VoxelValues<Channels> gradient(voxel(dy, i), vectors), probability(voxel(y, i), vectors);
  float dot = 0;
#pragma unroll
  for (int64_t c = 0; c < (Channels > 0 ? Channels : y.c); ++c) dot += gradient[c] * probability[c];
  write_voxel<Channels>(voxel(dx, i), vectors, y.c,
                        [&](int64_t c) { return probability[c] * (gradient[c] - dot); });
}

template <int Channels>
__global__ void argmax_kernel(View<uint8_t> labels, View<const float> x, bool vectors) {
  const int64_t i = thread_index();
  if (i >= x.voxels()) return;
  const VoxelValues<Channels> values(voxel(x, i), vectors);
  float largest = values[0];
  int64_t index = 0;
#pragma unroll
  for (int64_t c = 1; c < (Channels > 0 ? Channels : x.c); ++c) {
    const float value = values[c];
    if (value > largest || (value != value && largest == largest)) largest = value, index = c;
  }
  *voxel(labels, i) = static_cast<uint8_t>(index);
}

}  // namespace

void softmax_forward(View<float> y, View<const float> x, const Exec& exec) {
  dispatch_channels(x.c, [&](auto channels) {
    softmax_forward_kernel<decltype(channels)::value>
        <<<blocks_for(x.voxels()), block_threads, 0, stream_of(exec)>>>(y, x,
                                                                        float4_voxels(x) && float4_voxels(y));
  });
  check_launch();
}

void softmax_backward(View<float> dx, View<const float> dy, View<const float> y, const Exec& exec) {
  dispatch_channels(y.c, [&](auto channels) {
    softmax_backward_kernel<decltype(channels)::value>
        <<<blocks_for(y.voxels()), block_threads, 0, stream_of(exec)>>>(
            dx, dy, y, float4_voxels(dx) && float4_voxels(dy) && float4_voxels(y));
  });
  check_launch();
}

void argmax_channels(View<uint8_t> labels, View<const float> x, const Exec& exec) {
  dispatch_channels(x.c, [&](auto channels) {
    argmax_kernel<decltype(channels)::value>
        <<<blocks_for(x.voxels()), block_threads, 0, stream_of(exec)>>>(labels, x, float4_voxels(x));
  });
  check_launch();
}

}  // namespace vg::kernels::cuda
