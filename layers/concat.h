// Concatenation along the channels.
#pragma once

#include <vector>

#include "engine/tensor.h"

namespace vg {

/// [N, D, H, W, C1 + C2 + ...]. Throws std::invalid_argument if there are none, or if N, D, H or W differ.
/// Inputs that lie side by side already, as channel slices of one activation in this order, are not copied.
/// Backward copies nothing: the gradients are channel slices.
Tensor concat(const std::vector<Tensor>& inputs);

}  // namespace vg
