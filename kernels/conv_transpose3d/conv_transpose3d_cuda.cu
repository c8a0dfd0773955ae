// A transposed convolution is the gradient of the convolution with the same weights with respect to its
// input, and its own gradients are that convolution and its gradient of the weights with x and dy exchanged.
#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_impl.h"
#include "kernels/conv3d/conv3d_norm_gradient.cuh"
#include "kernels/conv_transpose3d/conv_transpose3d_impl.h"
#include "kernels/norm3d/norm3d_impl.h"

namespace vg::kernels::cuda {

namespace {

// output_padding only settles the extents, which the views carry.
Conv3dParams convolution(const ConvTranspose3dParams& p) {
  return {p.out_channels, p.in_channels, p.kernel_size, p.stride, p.padding};
}

}  // namespace

void conv_transpose3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                              const ConvTranspose3dParams& params, const Exec& exec) {
  conv3d_backward_input_or_transpose(y, x, weight, bias, convolution(params), exec);
}

void conv_transpose3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                                     const ConvTranspose3dParams& params, const Exec& exec) {
  cuda::conv3d_forward(dx, dy, weight, nullptr, convolution(params), exec);
}

void conv_transpose3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                                      const ConvTranspose3dParams& params, const Exec& exec) {
  cuda::conv3d_backward_weight(dweight, x, dy, convolution(params), exec);
}

void conv_transpose3d_forward(View<bfloat16> y, const OutputStatistics* statistics, View<const bfloat16> x,
                              const float* weight, const float* bias, const ConvTranspose3dParams& params,
                              const Exec& exec) {
  const Conv3dParams conv = convolution(params);
  const CudaLimits limits = cuda_limits();
  const Conv3dAlgorithm algorithm =
      y.elements() > 0 ? choose_conv3d_backward_input_algorithm(conv, y, x, limits) : Conv3dAlgorithm::direct;
  if (algorithm == Conv3dAlgorithm::strided_gemm)
    return conv3d_backward_input_strided_gemm(y, x, weight, bias, exec, statistics);
  if (algorithm == Conv3dAlgorithm::strided)
    return conv3d_backward_input_strided(y, x, weight, bias, limits.multiprocessors, exec, statistics);
  conv3d_backward_input_direct(y, x, weight, bias, conv, exec);
  compute_statistics(statistics, y, exec);
}

void conv_transpose3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy,
                               const NormInputGradient& source, View<const bfloat16> x, const float* weight,
                               const ConvTranspose3dParams& params, const Exec& exec) {
  if (input_norm_applies(source.norm) &&
      transposed_gradients_apply(convolution(params), dx, source, x, cuda_limits()))
    return conv_transpose3d_backward_strided(dx, dweight, source, x, weight, wgrad_multiprocessors, exec);
  WorkspaceScope scope(*exec.workspace);
  if (dy.data == nullptr) dy = scratch_like(source.dy, scope);
  cuda::norm3d_backward_input(dy, source.dy, source.x, source.norm, source.means, exec);
  cuda::conv_transpose3d_backward_weight(dweight, dy, x, params, exec);
  cuda::conv_transpose3d_backward_input(dx, dy, weight, params, exec);
}

void conv_transpose3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                     const ConvTranspose3dParams& params, const Exec& exec) {
  cuda::conv3d_forward(dx, nullptr, dy, nullptr, weight, nullptr, convolution(params), exec);
}

void conv_transpose3d_backward_weight(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                      const ConvTranspose3dParams& params, const Exec& exec) {
  cuda::conv3d_backward_weight(dweight, x, dy, nullptr, convolution(params), exec);
}

}  // namespace vg::kernels::cuda
