// Activations in device code, for the kernels that fuse them.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/common/reduce.cuh"

namespace vg::kernels::cuda {

/// What a kernel needs to know of an activation.
struct DeviceActivation {
  ActivationKind kind;
  float negative_slope;
  const float* slope;
  int64_t slope_count;
};

inline DeviceActivation device_activation(const ActivationParams& params, const float* slope) {
  return {params.kind, params.kind == ActivationKind::identity ? 1.0f : params.negative_slope, slope,
          params.slope_count};
}

/// The activation of `Width` neighbouring channels: identity, relu, leaky_relu or prelu. One form for all, so
/// that nothing branches at an element. NaN fails `v <= 0`, so it passes through.
template <int Width>
struct PiecewiseLinear {
  bool relu;  ///< 0 instead of a multiple: a slope of 0 would make NaN of -infinity
  Lanes<Width> slope;

  __device__ __forceinline__ PiecewiseLinear(const DeviceActivation& a, int64_t channel)
      : relu(a.kind == ActivationKind::relu),
        slope(a.kind != ActivationKind::prelu ? Lanes<Width>::all(a.negative_slope)
              : a.slope_count == 1            ? Lanes<Width>::all(a.slope[0])
                                              : Lanes<Width>::parameters(a.slope + channel)) {}
  __device__ __forceinline__ float value(float v, int lane) const {
    return v <= 0 ? (relu ? 0.0f : v * slope[lane]) : v;
  }
  __device__ __forceinline__ float gradient(float dy, float v, int lane) const {
    return v <= 0 ? (relu ? 0.0f : dy * slope[lane]) : dy;
  }
};

/// Likewise.
template <int Width>
struct Sigmoid {
  __device__ __forceinline__ Sigmoid(const DeviceActivation&, int64_t) {}
  __device__ __forceinline__ float value(float v, int) const { return 1 / (1 + expf(-v)); }
  __device__ __forceinline__ float gradient(float dy, float v, int lane) const {
    const float s = value(v, lane);
    return dy * s * (1 - s);
  }
};

/// dslope[0] += the sum of sums[count]: for a slope that all channels share. One block.
static __global__ void __launch_bounds__(block_threads)
    add_shared_slope_kernel(float* dslope, const double* sums, int64_t count) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += block_threads) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) dslope[0] += static_cast<float>(sum);
}

}  // namespace vg::kernels::cuda
