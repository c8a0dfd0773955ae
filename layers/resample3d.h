// Resampling to another size.
#pragma once

#include "engine/tensor.h"
#include "kernels/resample3d/resample3d.h"

namespace vg {

using kernels::Resample3dParams;
using kernels::ResampleMode;

/// PyTorch's interpolate(x, size=(d, h, w)), trilinear or nearest.
Tensor resample3d(const Tensor& x, int64_t d, int64_t h, int64_t w, const Resample3dParams& params = {});

}  // namespace vg
