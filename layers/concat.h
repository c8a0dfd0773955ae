// Concatenation along the channels.
#pragma once

#include <vector>

#include "engine/tensor.h"

namespace vg {

/// [N, D, H, W, C1 + C2 + ...]. Throws std::invalid_argument if there are none, or if N, D, H or W differ.
/// Backward copies nothing: the gradients are channel slices.
Tensor concat(const std::vector<Tensor>& inputs);

}  // namespace vg
