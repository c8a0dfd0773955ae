// Exercise: sums that need means which are not known yet. Page: kernels/attention_gate/README.md.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "exercises/support/not_solved.h"

namespace exercise::attention_gate {

struct ScoreVoxel {
  double dz, s_hat, a_hat;
  bool active;
};

/// Backward 1 and 2 of the gate in one pass, for one intermediate channel. A voxel has the gradient dz and
/// the normalised score s_hat of BN_psi, and the normalised a_hat of this channel; `active` says that h > 0.
/// With
///     ds = scale (dz - mean(dz) - s_hat mean(dz s_hat)),   dh = w ds where active, else 0
/// (means over all `count` voxels) return {sum dh, sum dh a_hat}. `next` gives each voxel once and then
/// false: the means are known only when the last voxel has gone by, and nothing may be stored per voxel.
inline std::array<double, 2> one_pass_sums(const std::function<bool(ScoreVoxel&)>& next, double scale,
                                           double w) {
  not_solved();
}

}  // namespace exercise::attention_gate
