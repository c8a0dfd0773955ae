// Resampling at moved places: affine and elastic deformation, the movements of motion artefacts.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "kernels/augment/volumes.h"

namespace vg::kernels {

/// A displacement that is a cubic B-spline of a coarse grid of control points (Rueckert et al. 1999).
struct SplineDisplacement {
  std::array<int64_t, 3> points{};  ///< control points along D, H, W
  /// [points D][points H][points W][3]: displacement along D, H, W in voxels.
  std::vector<float> displacement;
  /// Voxel i of axis a lies at first[a] + i * step[a] of the control grid; the four control points
  /// floor(g) - 1 to floor(g) + 2 around place g act. Where one of them is missing there is no displacement,
  /// but for place points - 2, where the fourth has no weight (ITK's BSplineTransform).
  std::array<double, 3> first{}, step{};
};

/// Voxel (d, h, w) of y is taken from place matrix * (d, h, w, 1) + displacement(d, h, w) of x, in voxels.
struct WarpParams {
  std::array<std::array<double, 4>, 3> matrix{{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}};
  std::optional<SplineDisplacement> spline;
  /// For places outside of x; nothing: the minimum of each volume (for labels 0).
  std::optional<float> fill;
};

/// Trilinear for float, nearest neighbour (halves round up) for labels. A place within half a voxel of the
/// outermost voxels' centres takes the edge's value, one farther out takes `fill` (ITK's
/// ResampleImageFilter). Places are computed in double along D and H and for the row's start, then in float.
/// Throws std::invalid_argument for a spline with fewer than four points along an axis, or whose displacement
/// has another size, for a fill that is no label, and for volumes of 2^31 voxels and more.
void warp(View<float> y, View<const float> x, const WarpParams& params, const Exec& exec);
void warp(View<uint8_t> y, View<const uint8_t> x, const WarpParams& params, const Exec& exec);

}  // namespace vg::kernels
