// Herringbone artefact: single points of k-space that are far too bright.
#pragma once

#include <array>
#include <vector>

#include "kernels/augment/volumes.h"

namespace vg::kernels {

struct SpikeParams {
  /// Places in the centred spectrum as shares of its extents, in [0, 1): index floor(position * extent).
  std::vector<std::array<float, 3>> positions;
  float intensity = 1;  ///< of a spike, as a multiple of the spectrum's maximum
};

/// TorchIO 0.20.4 Spike: a spike in k-space is a plane wave. The spectrum's maximum is the largest complex
/// number in numpy's order (real part, then imaginary part); of a volume without negative voxels that is the
/// sum of its voxels, of any other it is found by Fourier transforms along the three axes. Each spike counts
/// for the maximum that the next one takes.
void spike(View<float> y, View<const float> x, const SpikeParams& params, const Exec& exec);

}  // namespace vg::kernels
