// Transposed 3D convolution (PyTorch's ConvTranspose3d) and its gradients. The gradient of the bias is
// conv3d_backward_bias.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"
#include "kernels/norm3d/norm3d.h"

namespace vg::kernels {

/// Supported: kernel 3, stride 2, padding 1, output_padding 1; and kernel 2, stride 2, padding 0,
/// output_padding 0. Both double each extent.
struct ConvTranspose3dParams {
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int kernel_size = 3;
  int stride = 2;
  int padding = 1;
  int output_padding = 1;
};

constexpr int64_t conv_transpose3d_output_extent(int64_t extent, const ConvTranspose3dParams& p) {
  return (extent - 1) * p.stride - 2 * p.padding + p.kernel_size + p.output_padding;
}

/// y[n, z*s-p+kd, ..., o] = bias[o] + sum of w[i,o,kd,kh,kw] * x[n,z,y,x,i]; overwrites y.
/// x: [N,D,H,W,in_channels]; y: [N,2D,2H,2W,out_channels]; weight: (in, out, k, k, k), PyTorch's order; bias:
/// [out] or null. Throws std::invalid_argument if shapes or params do not fit.
void conv_transpose3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                              const ConvTranspose3dParams& params, const Exec& exec);

/// Overwrites dx.
void conv_transpose3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                                     const ConvTranspose3dParams& params, const Exec& exec);

/// dweight (in, out, k, k, k) += ...; accumulates. Same bits for any thread count.
void conv_transpose3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                                      const ConvTranspose3dParams& params, const Exec& exec);

/// The same three for bfloat16 activations, on CUDA only: weights are rounded to bfloat16 (to nearest),
/// products are summed in float from the float bias on, and sums are rounded to nearest, ties to even;
/// dweight is float. Kernel 3 with channels that are multiples of 16 and voxels that lie at multiples of 16
/// bytes runs on tensor cores (conv3d_algorithm.h). Throw std::invalid_argument on the CPU as well.
void conv_transpose3d_forward(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                              const float* bias, const ConvTranspose3dParams& params, const Exec& exec);
/// ... and the statistics of y's channels, see conv3d.h.
void conv_transpose3d_forward(View<bfloat16> y, const OutputStatistics& statistics, View<const bfloat16> x,
                              const float* weight, const float* bias, const ConvTranspose3dParams& params,
                              const Exec& exec);
void conv_transpose3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                     const ConvTranspose3dParams& params, const Exec& exec);
void conv_transpose3d_backward_weight(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                      const ConvTranspose3dParams& params, const Exec& exec);

/// Whether conv_transpose3d_backward() makes both gradients in one pass, where voxels lie as they must and
/// the device has what it takes: kernel 3 from 32 channels to 16.
bool conv_transpose3d_makes_both_gradients(const ConvTranspose3dParams& params);

/// Both gradients for dy that is the gradient of a norm's input and has not been made yet; dx is overwritten,
/// dweight added to. On CUDA only. Where conv_transpose3d_makes_both_gradients() (with the shared memory of
/// an A100 and voxels at multiples of 16 bytes) in one pass that never stores dy; else dy is overwritten and
/// read, and may be source.dy; without data scratch memory takes its place.
void conv_transpose3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy,
                               const NormInputGradient& source, View<const bfloat16> x, const float* weight,
                               const ConvTranspose3dParams& params, const Exec& exec);

}  // namespace vg::kernels
