// Inverted dropout with a mask that is a function of (seed, offset, index): backward draws it again instead
// of storing it.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

struct DropoutParams {
  float probability = 0.5f;  ///< of setting an element to zero, in [0, 1)
  uint64_t seed = 0;
  uint64_t offset = 0;  ///< tells one call from another
};

/// y[i] = philox_uniform(seed, offset, i) < probability ? 0 : x[i] / (1 - probability), i the index in
/// [N,D,H,W,C] order; overwrites; y may be x. Backward is the same call on dy.
void dropout(View<float> y, View<const float> x, const DropoutParams& params, const Exec& exec);

/// The same for bfloat16 activations, on CUDA only (throws std::invalid_argument on the CPU): the mask is the
/// same, products are rounded to nearest, ties to even.
void dropout(View<bfloat16> y, View<const bfloat16> x, const DropoutParams& params, const Exec& exec);

}  // namespace vg::kernels
