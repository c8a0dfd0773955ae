// One thread an element in [N,D,H,W,C] order.
#include "kernels/activation/activation.cuh"
#include "kernels/activation/activation_impl.h"
#include "kernels/common/reduce.cuh"

namespace vg::kernels::cuda {

namespace {

__global__ void forward_kernel(View<float> y, View<const float> x, DeviceActivation activation) {
  const int64_t i = thread_index();
  if (i < x.elements()) *element(y, i) = activation.value(*element(x, i), i % x.c);
}

__global__ void backward_kernel(View<float> dx, View<const float> dy, View<const float> x,
                                DeviceActivation activation) {
  const int64_t i = thread_index();
  if (i < x.elements()) *element(dx, i) = activation.gradient(*element(dy, i), *element(x, i), i % x.c);
}

struct SlopeTerm {
  View<const float> dy, x;
  __device__ void operator()(int64_t i, float (&sums)[1]) const {
    const float v = *element(x, i);
    if (v <= 0) sums[0] += *element(dy, i) * v;
  }
};
struct AddToSlope {
  float* dslope;
  __device__ void operator()(const double (&sums)[1]) const { dslope[0] += static_cast<float>(sums[0]); }
};

struct SlopeShare {
  View<const float> dy, x;
  __device__ void operator()(int64_t first, int64_t limit, int64_t step, int64_t channel,
                             double (&sums)[1]) const {
    float sum = 0;
    for (int64_t i = first; i < limit; i += step) {
      const float v = voxel(x, i)[channel];
      if (v <= 0) sum += voxel(dy, i)[channel] * v;
    }
    sums[0] += sum;
  }
};
struct AddToSlopes {
  float* dslope;
  __device__ void operator()(int64_t channel, const double (&sums)[1]) const {
    dslope[channel] += static_cast<float>(sums[0]);
  }
};

}  // namespace

void activation_forward(View<float> y, View<const float> x, const float* slope,
                        const ActivationParams& params, const Exec& exec) {
  forward_kernel<<<blocks_for(x.elements()), block_threads, 0, stream_of(exec)>>>(
      y, x, device_activation(params, slope));
  check_launch();
}

void activation_backward(View<float> dx, float* dslope, View<const float> dy, View<const float> x,
                         const float* slope, const ActivationParams& params, const Exec& exec) {
  // The slope's gradient first: dx may be dy.
  if (params.kind == ActivationKind::prelu) {
    if (params.slope_count == 1) {
      grid_sums<1>(x.elements(), SlopeTerm{dy, x}, AddToSlope{dslope}, exec);
    } else {
      channel_sums<1>(1, x.voxels(), x.c, SlopeShare{dy, x}, AddToSlopes{dslope}, exec);
    }
  }
  backward_kernel<<<blocks_for(x.elements()), block_threads, 0, stream_of(exec)>>>(
      dx, dy, x, device_activation(params, slope));
  check_launch();
}

}  // namespace vg::kernels::cuda
