// A medical image in memory: voxels in float or label bytes, with the geometry that places them in the
// patient.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace vg::data {

/// Voxel (i, j, k) -> millimetres, RAS+ (x to the right, y to the front, z up): the rows of the upper 3x4 of
/// NIfTI's affine.
using Affine = std::array<std::array<double, 4>, 3>;

/// Extents and affine. Axis i varies fastest in memory, as in NIfTI.
struct Geometry {
  std::array<int64_t, 3> extent{};
  Affine affine{{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}};

  int64_t voxels() const { return extent[0] * extent[1] * extent[2]; }
  /// Millimetres between neighbouring voxels along each axis: the lengths of the affine's columns.
  std::array<double, 3> spacing() const;
  int64_t index(int64_t i, int64_t j, int64_t k) const { return i + extent[0] * (j + extent[1] * k); }
  bool operator==(const Geometry&) const = default;
};

/// One scalar image (a modality). voxels[geometry.index(i, j, k)].
struct Image {
  Geometry geometry;
  std::vector<float> voxels;
};

/// One label map.
struct LabelMap {
  Geometry geometry;
  std::vector<uint8_t> voxels;
};

}  // namespace vg::data
