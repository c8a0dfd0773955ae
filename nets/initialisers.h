// Initial values of a network's weights.
#pragma once

#include "engine/rng.h"
#include "layers/module.h"

namespace vg {

/// PyTorch 1.13's defaults, told from names and shapes:
///   * convolution, plain or transposed, weight (a, b, k, k, k): kaiming_uniform with a = sqrt(5), that is
///   U(-r, r) with
///     r = 1 / sqrt(b k^3); its bias U(-r, r) with the same r;
///   * norm: weight 1, bias 0, running mean 0, running variance 1, count of batches 0;
///   * PReLU (a one-dimensional weight without a bias): 0.25.
/// Draws in the order of state(): the same seed gives the same values on every device. Throws
/// std::logic_error for a tensor that is none of these.
void initialise(const Module& network, Rng& rng);

}  // namespace vg
