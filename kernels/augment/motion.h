// The head moves during the scan.
#pragma once

#include <array>
#include <vector>

#include "kernels/augment/volumes.h"

namespace vg::kernels {

struct MotionParams {
  /// When the head moves, in shares of the scan, ascending in (0, 1); one for each movement.
  std::vector<float> times;
  /// For each movement, where a voxel is taken from: place matrix * (d, h, w, 1) of x, in voxels.
  std::vector<std::array<std::array<double, 4>, 3>> movements;
};

/// TorchIO 0.20.4 Motion (Shaw et al. 2019): the centred spectrum's planes along W are taken, band by band
/// between the times, from the volume as it was moved; the band of the centre is of the volume at rest. What
/// moves in from outside has the volume's minimum. Throws std::invalid_argument unless there is a movement
/// for each time.
void motion(View<float> y, View<const float> x, const MotionParams& params, const Exec& exec);

}  // namespace vg::kernels
