// A transposed convolution is the backward data pass of the strided convolution with the same weights.
#include "kernels/common/launch.cuh"
#include "kernels/conv3d/conv3d_impl.h"
#include "kernels/conv_transpose3d/conv_transpose3d_impl.h"

namespace vg::kernels::cuda {

namespace {

Conv3dParams convolution(const ConvTranspose3dParams& p) {
  return {p.out_channels, p.in_channels, p.kernel_size, p.stride, p.padding};
}

__global__ void add_bias_kernel(View<float> y, const float* bias) {
  const int64_t i = thread_index();
  if (i < y.elements()) *element(y, i) += bias[i % y.c];
}

}  // namespace

void conv_transpose3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                              const ConvTranspose3dParams& p, const Exec& exec) {
  cuda::conv3d_backward_input(y, x, weight, convolution(p), exec);
  if (bias == nullptr) return;
  add_bias_kernel<<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(y, bias);
  check_launch();
}

void conv_transpose3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                                     const ConvTranspose3dParams& p, const Exec& exec) {
  cuda::conv3d_forward(dx, dy, weight, nullptr, convolution(p), exec);
}

void conv_transpose3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                                      const ConvTranspose3dParams& p, const Exec& exec) {
  cuda::conv3d_backward_weight(dweight, x, dy, convolution(p), exec);
}

}  // namespace vg::kernels::cuda
