// Activations in device code, for the kernels that fuse them.
#pragma once

#include "kernels/activation/activation.h"

namespace vg::kernels::cuda {

/// What a kernel needs to know of an activation.
struct DeviceActivation {
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

inline DeviceActivation device_activation(const ActivationParams& params, const float* slope) {
  return {params.kind, params.negative_slope, slope, params.slope_count};
}

}  // namespace vg::kernels::cuda
