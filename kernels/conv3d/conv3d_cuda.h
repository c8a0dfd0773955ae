// What conv_transpose3d_cuda.cu takes from conv3d_cuda.cu: a transposed convolution is the gradient of a
// convolution with respect to its input, plus a bias.
#pragma once

#include "kernels/conv3d/conv3d.h"

namespace vg::kernels::cuda {

/// dx = bias (or 0 if null) + the transpose of the convolution applied to dy; overwrites dx. Also takes
/// kernel_size 2 with stride 2 and padding 0, as conv3d_forward and conv3d_backward_weight in this namespace
/// do.
void conv3d_backward_input_with_bias(View<float> dx, View<const float> dy, const float* weight,
                                     const float* bias, const Conv3dParams& params, const Exec& exec);

}  // namespace vg::kernels::cuda
