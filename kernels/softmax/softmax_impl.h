#pragma once

#include "kernels/common/dispatch.h"

namespace vg::kernels {

VG_DECLARE_IMPLEMENTATIONS(void softmax_forward(View<float> y, View<const float> x, const Exec& exec);
                           void softmax_backward(View<float> dx, View<const float> dy, View<const float> y,
                                                 const Exec& exec);
                           void argmax_channels(View<uint8_t> labels, View<const float> x, const Exec& exec);)

namespace cuda {
void softmax_forward(View<bfloat16> y, View<const bfloat16> x, const Exec& exec);
void softmax_backward(View<bfloat16> dx, View<const bfloat16> dy, View<const bfloat16> y, const Exec& exec);
void argmax_channels(View<uint8_t> labels, View<const bfloat16> x, const Exec& exec);
}  // namespace cuda

}  // namespace vg::kernels
