// One thread an element in [N,D,H,W,C] order.
#include "kernels/activation/activation_impl.h"
#include "kernels/common/reduce.cuh"

namespace vg::kernels::cuda {

namespace {

/// What a kernel needs to know of an activation. relu is a leaky_relu whose slope makes exact zeros.
struct Activation {
  ActivationKind kind;
  float negative_slope;
  const float* slope;
  int64_t slope_count;

  __device__ float slope_of(int64_t channel) const {
    if (kind != ActivationKind::prelu) return negative_slope;
    return slope[slope_count == 1 ? 0 : channel];
  }
  // NaN fails `v <= 0`, so it passes through every activation.
  __device__ float value(float v, int64_t channel) const {
    switch (kind) {
      case ActivationKind::identity:
        return v;
      case ActivationKind::relu:
        return v <= 0 ? 0.0f : v;
      case ActivationKind::sigmoid:
        return 1 / (1 + expf(-v));
      default:
        return v <= 0 ? v * slope_of(channel) : v;
    }
  }
  __device__ float gradient(float dy, float v, int64_t channel) const {
    switch (kind) {
      case ActivationKind::identity:
        return dy;
      case ActivationKind::relu:
        return v <= 0 ? 0.0f : dy;
      case ActivationKind::sigmoid: {
        const float s = 1 / (1 + expf(-v));
        return dy * s * (1 - s);
      }
      default:
        return v <= 0 ? dy * slope_of(channel) : dy;
    }
  }
};

__global__ void forward_kernel(View<float> y, View<const float> x, Activation activation) {
  const int64_t i = thread_index();
  if (i < x.elements()) *element(y, i) = activation.value(*element(x, i), i % x.c);
}

__global__ void backward_kernel(View<float> dx, View<const float> dy, View<const float> x,
                                Activation activation) {
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

Activation activation_of(const ActivationParams& params, const float* slope) {
  return {params.kind, params.negative_slope, slope, params.slope_count};
}

}  // namespace

void activation_forward(View<float> y, View<const float> x, const float* slope,
                        const ActivationParams& params, const Exec& exec) {
  forward_kernel<<<blocks_for(x.elements()), block_threads, 0, stream_of(exec)>>>(
      y, x, activation_of(params, slope));
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
      dx, dy, x, activation_of(params, slope));
  check_launch();
}

}  // namespace vg::kernels::cuda
