// Resampling to another size (PyTorch's interpolate, modes `trilinear` and `nearest`) and its gradient.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

enum class ResampleMode : uint8_t { trilinear, nearest };

/// The scale of each axis follows from the extents of source and destination.
struct Resample3dParams {
  ResampleMode mode = ResampleMode::trilinear;
  bool align_corners =
      false;  ///< trilinear only: the centres of the corner voxels coincide; else the faces of the volumes do
};

/// y[N,D',H',W',C] from x[N,D,H,W,C]; overwrites y.
void resample3d_forward(View<float> y, View<const float> x, const Resample3dParams& params, const Exec& exec);

/// The same for bfloat16 activations, on CUDA only (throws std::invalid_argument on the CPU): sums are float
/// and rounded once, to nearest, ties to even.
void resample3d_forward(View<bfloat16> y, View<const bfloat16> x, const Resample3dParams& params,
                        const Exec& exec);

/// dx[N,D,H,W,C] from dy[N,D',H',W',C], in gather form: each input voxel sums its contributions in a fixed
/// order; overwrites dx.
void resample3d_backward(View<float> dx, View<const float> dy, const Resample3dParams& params,
                         const Exec& exec);
void resample3d_backward(View<bfloat16> dx, View<const bfloat16> dy, const Resample3dParams& params,
                         const Exec& exec);

}  // namespace vg::kernels
