// A norm with its activation and the convolution behind it as one op.
#pragma once

#include "layers/conv3d.h"
#include "layers/norm3d.h"

namespace vg {

/// conv3d(act(norm(x))) without storing the convolution's input: it is made from x whenever it is needed, in
/// the forward pass and for the weight's gradient. x: a bfloat16 activation (CUDA) that is normalised with
/// its own statistics. Otherwise as conv3d(): with `statistics`, those of the result are for a norm behind
/// it. `unread` likewise. Throws std::invalid_argument if something does not fit.
Tensor norm_conv3d(const Tensor& x, const NormOperands& norm, const Tensor& weight, const Tensor& bias,
                   const Conv3dParams& params, ChannelStatistics* statistics, bool unread = false);

}  // namespace vg
