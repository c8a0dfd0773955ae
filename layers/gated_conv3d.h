// An attention gate, a norm and the convolution of both side by side (a merge) as one op.
#pragma once

#include "layers/attention_gate.h"
#include "layers/conv3d.h"

namespace vg {

/// conv3d(concat({gated, rest})) where neither has been stored: they are made from what they stand for as the
/// convolution reads them, in the forward pass and for the weight's gradient. bfloat16 (CUDA), as many
/// channels of each, kernel 3 and stride 1; what the gate stands for is before a norm. `statistics` are those
/// of the result, for a norm behind it. `unread` as in conv3d(). Throws std::invalid_argument if something
/// does not fit.
Tensor gated_conv3d(const UnstoredGate& gated, const UnstoredNorm& rest, const Tensor& weight,
                    const Tensor& bias, const Conv3dParams& params, ChannelStatistics& statistics,
                    bool unread = false);

}  // namespace vg
