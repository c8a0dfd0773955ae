// Mirroring of volumes.
#pragma once

#include <array>

#include "kernels/augment/volumes.h"

namespace vg::kernels {

/// y = x with the order along the given axes (D, H, W) reversed (TorchIO Flip).
void flip(View<float> y, View<const float> x, const std::array<bool, 3>& axes, const Exec& exec);
void flip(View<uint8_t> y, View<const uint8_t> x, const std::array<bool, 3>& axes, const Exec& exec);

}  // namespace vg::kernels
