// The three passes of which all convolutions on the CPU consist. For *_cpu.cpp.
//
//   pass               | convolution                   | transposed convolution
//   correlate          | forward; input gradient of    | input gradient
//                      | stride 1 (flipped weights)    |
//   correlate_transposed | input gradient of stride 2  | forward
//   correlation_gradient | weight gradient             | weight gradient (input and gradient exchanged)
#pragma once

#include "kernels/conv3d/conv3d_pack_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

/// y[z] = epilogue(sum over taps k of weights[k] * x[z * stride - padding + k]); overwrites y. Kernel and
/// stride: 3 and 1, 3 and 2, 2 and 2, 1 and 1.
void correlate(View<float> y, View<const float> x, const Weights& weights, const Epilogue& epilogue,
               int stride, int padding, const Exec& exec);

/// The transpose of the correlation with stride 2, y[z * 2 - padding + k] += weights[k] * x[z], and the
/// epilogue; overwrites y, or adds to it. Kernel 3 with padding 0 or 1, or kernel 2 with padding 0.
void correlate_transposed(View<float> y, View<const float> x, const Weights& weights,
                          const Epilogue& epilogue, int padding, const Exec& exec, bool add = false);

/// dweight[o][i][k] += sum over n and z of dy[z][o] * x[z * stride - padding + k][i]; accumulates. Kernels
/// and strides as in correlate.
void correlation_gradient(float* dweight, View<const float> dy, View<const float> x, int kernel_size,
                          int stride, int padding, const Exec& exec);

}  // namespace vg::kernels::cpu::VG_ISA
