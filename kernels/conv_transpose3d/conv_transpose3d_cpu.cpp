// A transposed convolution is the backward data pass of the strided convolution with the same weights.
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/conv3d/conv3d_impl.h"
#include "kernels/conv_transpose3d/conv_transpose3d_impl.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

Conv3dParams convolution(const ConvTranspose3dParams& p) {
  return {p.out_channels, p.in_channels, p.kernel_size, p.stride, p.padding};
}

}  // namespace

void conv_transpose3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                              const ConvTranspose3dParams& p, const Exec& exec) {
  VG_ISA::conv3d_backward_input(y, x, weight, convolution(p), exec);
  if (bias == nullptr) return;
  parallel_for(y.rows(), 1, [&](int64_t r) {
    for (int64_t w = 0; w < y.w; ++w) {
      for (int64_t c = 0; c < y.c; ++c) y.row(r)[w * y.stride_w + c] += bias[c];
    }
  });
}

void conv_transpose3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                                     const ConvTranspose3dParams& p, const Exec& exec) {
  VG_ISA::conv3d_forward(dx, dy, weight, nullptr, convolution(p), exec);
}

void conv_transpose3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                                      const ConvTranspose3dParams& p, const Exec& exec) {
  VG_ISA::conv3d_backward_weight(dweight, x, dy, convolution(p), exec);
}

}  // namespace vg::kernels::cpu::VG_ISA
