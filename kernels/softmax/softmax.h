// Softmax over the channels of each voxel.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

/// y[v, c] = exp(x[v, c] - max) / sum; overwrites y; y may be x. A voxel with NaN or +infinity in any channel
/// becomes NaN in all of them, as in PyTorch.
void softmax_forward(View<float> y, View<const float> x, const Exec& exec);

/// dx = y * (dy - sum over c of dy * y) from the output y of forward; overwrites dx; dx may be dy.
void softmax_backward(View<float> dx, View<const float> dy, View<const float> y, const Exec& exec);

/// labels[v] = the channel of the largest x[v, c]; the first of equals; a NaN counts as the largest (as in
/// PyTorch). labels: [N,D,H,W,1]; at most 256 channels.
void argmax_channels(View<uint8_t> labels, View<const float> x, const Exec& exec);

/// The same for bfloat16 activations, on CUDA only: computed in float and rounded once.
void softmax_forward(View<bfloat16> y, View<const bfloat16> x, const Exec& exec);
void softmax_backward(View<bfloat16> dx, View<const bfloat16> dy, View<const bfloat16> y, const Exec& exec);
void argmax_channels(View<uint8_t> labels, View<const bfloat16> x, const Exec& exec);

}  // namespace vg::kernels
