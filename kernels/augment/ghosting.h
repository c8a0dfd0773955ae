// Ghosts along one axis, as periodic movement leaves them.
#pragma once

#include <optional>

#include "kernels/augment/volumes.h"

namespace vg::kernels {

struct GhostingParams {
  int num_ghosts = 4;      ///< every so many-th plane of the centred spectrum is weakened; 0: none
  int axis = 0;            ///< 0, 1, 2: D, H, W
  float intensity = 0.5f;  ///< planes are multiplied by 1 - intensity
  /// Share of the spectrum's planes around its centre that is left as it was; nothing: the central plane.
  std::optional<float> restore;
};

/// TorchIO 0.20.4 Ghosting. All of it happens along one axis, so it is a filter along that axis.
void ghosting(View<float> y, View<const float> x, const GhostingParams& params, const Exec& exec);

}  // namespace vg::kernels
