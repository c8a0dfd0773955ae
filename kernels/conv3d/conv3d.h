// 3D convolution (cross-correlation, as in PyTorch's Conv3d) and its gradients.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"
#include "kernels/norm3d/norm3d.h"

namespace vg::kernels {

/// Cubic kernels only: the same size, stride and padding in D, H and W.
struct Conv3dParams {
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int kernel_size = 3;  ///< 1 or 3
  int stride = 1;       ///< 1 or 2
  int padding = 1;      ///< zeros added to each face; 0 <= padding <= kernel_size / 2
};

/// Extent of the output along one axis.
constexpr int64_t conv3d_output_extent(int64_t extent, const Conv3dParams& p) {
  return (extent + 2 * p.padding - p.kernel_size) / p.stride + 1;
}

/// y[n,z,y,x,o] = bias[o] + sum over taps and i of w[o,i,kd,kh,kw] * x[n, z*s-p+kd, y*s-p+kh, x*s-p+kw, i];
/// overwrites y. x: [N,D,H,W,in_channels]; y: [N,D',H',W',out_channels]; weight: (out, in, k, k, k),
/// PyTorch's order; bias: [out] or null. Throws std::invalid_argument if shapes or params do not fit. On CUDA
/// this and the gradients below round x, w and dy to TF32 where exec.allow_tf32 and tf32_applies()
/// (conv3d_algorithm.h).
void conv3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                    const Conv3dParams& params, const Exec& exec);

/// dx = the transpose of the convolution applied to dy; overwrites dx.
void conv3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                           const Conv3dParams& params, const Exec& exec);

/// dx += the same; accumulates. On the CPU without a pass of its own for kernel 3 and stride 2.
void conv3d_add_backward_input(View<float> dx, View<const float> dy, const float* weight,
                               const Conv3dParams& params, const Exec& exec);

/// The same two for bfloat16 activations, on CUDA only: weights are rounded to bfloat16 (to nearest),
/// products and the float bias are summed in float, and sums are rounded to nearest, ties to even. Multiples
/// of 16 channels, whose voxels lie at multiples of 16 bytes, run on tensor cores with kernel 3, padding 1
/// and either stride, and with kernel 1 and stride 1; so do up to 4 input channels with kernel 3, padding 1
/// and stride 1, but for the gradient of the input (conv3d_algorithm.h). Throw std::invalid_argument on the
/// CPU as well.
void conv3d_forward(View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias,
                    const Conv3dParams& params, const Exec& exec);
/// ... and the statistics of the sums before they are rounded, where the algorithm has them at hand, else of
/// y.
void conv3d_forward(View<bfloat16> y, const OutputStatistics& statistics, View<const bfloat16> x,
                    const float* weight, const float* bias, const Conv3dParams& params, const Exec& exec);
/// ... of x after a norm and its activation, which need no pass of their own where the algorithm applies them
/// as it reads x (padding stays zero). Without statistics if these are null.
void conv3d_forward(View<bfloat16> y, const OutputStatistics* statistics, View<const bfloat16> x,
                    const InputNorm& norm, const float* weight, const float* bias, const Conv3dParams& params,
                    const Exec& exec);
void conv3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                           const Conv3dParams& params, const Exec& exec);
/// dx += the same; accumulates, and rounds the sum once where the algorithm can (stride 2 on tensor cores).
void conv3d_add_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                               const Conv3dParams& params, const Exec& exec);

/// dweight[o,i,kd,kh,kw] += sum over n and voxels of dy[..., o] * x[shifted, i]; accumulates. Same bits for
/// any thread count.
void conv3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                            const Conv3dParams& params, const Exec& exec);

/// The same for bfloat16 activations, on CUDA only: products are summed in float, dweight is float. The same
/// convolutions run on tensor cores. Throws std::invalid_argument on the CPU as well.
void conv3d_backward_weight(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                            const Conv3dParams& params, const Exec& exec);
/// ... for x after a norm, as in the forward pass.
void conv3d_backward_weight(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                            const InputNorm& norm, const Conv3dParams& params, const Exec& exec);

/// ... for dy that is the gradient of a norm's input and has not been made yet: overwrites dy, which may be
/// source.dy; without data it is not stored. Where the algorithm makes it as it reads source.dy and source.x
/// (voxels of these and dy lie alike, at multiples of 16 bytes; kernel 3 and stride 1 between few channels),
/// that costs no pass of its own. `norm` of x may be null.
void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NormInputGradient& source,
                            View<const bfloat16> x, const InputNorm* norm, const Conv3dParams& params,
                            const Exec& exec);

/// Whether conv3d_forward and conv3d_backward_weight apply a norm of x as they read it, where voxels lie at
/// multiples of 16 bytes and the device has tensor cores: else it costs a pass in each.
bool conv3d_applies_norm(const Conv3dParams& params);

/// Whether conv3d_backward_weight makes the gradient of a norm's input as it reads it, where voxels lie as
/// they must and the device has tensor cores.
bool conv3d_makes_gradient(const Conv3dParams& params);

/// Where the gradient of x goes, and what else is wanted of it.
struct InputGradient {
  View<bfloat16> dx;  ///< overwritten
  bool add = false;   ///< or added to
  /// If not null, [groups, in_channels, 2], receives what the norm of x needs of dx as it is left, see
  /// NormGradientSums: sums of one piece, of dx before it is rounded where the algorithm has it at hand. x is
  /// what the norm takes then; any activation but prelu.
  float* norm_sums = nullptr;
};
/// Both gradients for dy that is the gradient of a norm's input and has not been made yet: conv3d_backward_
/// weight() and conv3d_backward_input() or conv3d_add_backward_input() in one call, on CUDA only. Where
/// conv3d_makes_both_gradients() and the device has the shared memory, one pass over source, x and dx does
/// it; else dy is overwritten and read, and may be source.dy; without data scratch memory takes its place.
void conv3d_backward(const InputGradient& of_x, float* dweight, View<bfloat16> dy,
                     const NormInputGradient& source, View<const bfloat16> x, const InputNorm* norm,
                     const float* weight, const Conv3dParams& params, const Exec& exec);
/// Whether conv3d_backward() makes both gradients in one pass, where voxels lie at multiples of 16 bytes:
/// kernel 3 with stride 2 from 16 to 32 channels.
bool conv3d_makes_both_gradients(const Conv3dParams& params);

/// All gradients of conv3d_forward with a norm of x, in fewer passes than one by one where the algorithm has
/// what the norm needs at hand: overwrites dx, the gradient of x before the norm; accumulates into dweight,
/// dbias (null: not wanted) and the gradients of the norm's parameters. On CUDA only.
void conv3d_backward_through_norm(View<bfloat16> dx, float* dweight, float* dbias,
                                  const NormGradients& gradients, View<const bfloat16> dy,
                                  View<const bfloat16> x, const InputNorm& norm, const float* weight,
                                  const Conv3dParams& params, const Exec& exec);
/// The same with kernel 3 but for the norm's second half: what norm3d_backward_input() needs is left in
/// means[2, groups * channels], and dx is the gradient of the norm's result.
void conv3d_backward_through_norm(View<bfloat16> dx, float* dweight, float* dbias,
                                  const NormGradients& gradients, View<const bfloat16> dy,
                                  View<const bfloat16> x, const InputNorm& norm, const float* weight,
                                  const Conv3dParams& params, float* means, const Exec& exec);

/// ... and for dy that is the gradient of a norm's input and has not been made yet, as in
/// conv3d_backward_weight(). Where the algorithm makes it as it reads (kernel 3 and stride 1 between 16
/// channels, where a block has 142 KiB of shared memory), one pass over source.dy, source.x and x leaves dx;
/// else dy is overwritten, which may be source.dy; without data scratch memory takes its place. dx is
/// neither.
void conv3d_backward_through_norm(View<bfloat16> dx, float* dweight, const NormGradients& gradients,
                                  View<bfloat16> dy, const NormInputGradient& source, View<const bfloat16> x,
                                  const InputNorm& norm, const float* weight, const Conv3dParams& params,
                                  float* means, const Exec& exec);

/// dbias[o] += sum over n and voxels of dy[..., o]; accumulates. Same bits for any thread count.
void conv3d_backward_bias(float* dbias, View<const float> dy, const Exec& exec);

/// The same for bfloat16 activations, on CUDA only (throws std::invalid_argument on the CPU).
void conv3d_backward_bias(float* dbias, View<const bfloat16> dy, const Exec& exec);

}  // namespace vg::kernels
