// Softmax and argmax over channels.
#pragma once

#include "engine/tensor.h"

namespace vg {

/// Softmax over the channels of each voxel. In place if x was moved in.
Tensor softmax(Tensor x);

/// The channel of the largest value: a uint8 activation [N, D, H, W, 1]. Not differentiable.
Tensor argmax(const Tensor& x);

}  // namespace vg
