// A medical image in memory: voxels in float or label bytes, with the geometry that places them in the
// patient.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
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
  std::array<double, 3> spacing() const {
    std::array<double, 3> lengths;
    for (size_t axis = 0; axis < 3; ++axis)
      lengths[axis] = std::sqrt(affine[0][axis] * affine[0][axis] + affine[1][axis] * affine[1][axis] +
                                affine[2][axis] * affine[2][axis]);
    return lengths;
  }
  int64_t index(int64_t i, int64_t j, int64_t k) const { return i + extent[0] * (j + extent[1] * k); }
  bool operator==(const Geometry&) const = default;
};

/// Voxels of type T on a grid. voxels[geometry.index(i, j, k)].
template <class T>
struct Volume {
  Geometry geometry;
  std::vector<T> voxels;
};

/// One scalar image (a modality).
using Image = Volume<float>;
/// One label map.
using LabelMap = Volume<uint8_t>;

}  // namespace vg::data
