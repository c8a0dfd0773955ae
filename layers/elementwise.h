// Sums and products of tensors.
#pragma once

#include "engine/tensor.h"

namespace vg {

/// a + b, of one shape.
Tensor add(const Tensor& a, const Tensor& b);

/// a * b for activations; b has the channels of a, or one that is broadcast.
Tensor multiply(const Tensor& a, const Tensor& b);

/// factor * x.
Tensor scale(const Tensor& x, float factor);

}  // namespace vg
