// Where voxels lie in the patient: points, inverses and anatomical orientation of an affine.
#pragma once

#include <array>
#include <string>

#include "data/volume.h"

namespace vg::data {

using Point = std::array<double, 3>;

/// Millimetres (RAS+) of the continuous voxel index `index`.
Point to_millimetres(const Affine& affine, const Point& index);

/// The affine from millimetres to voxel indices. Throws DataError if `affine` is singular.
Affine inverse(const Affine& affine);

/// outer(inner(x)).
Affine compose(const Affine& outer, const Affine& inner);

/// Determinant of the 3x3 part: the signed volume of a voxel in mm3.
double determinant(const Affine& affine);

/// True if no column is zero, nothing is NaN or infinite, and the columns span the space.
bool is_invertible(const Affine& affine);

/// Which anatomical axis (0 = left to right, 1 = back to front, 2 = bottom to top) each voxel axis is closest
/// to, and whether it runs against it.
struct Orientation {
  std::array<int, 3> anatomical_axis{0, 1, 2};
  std::array<bool, 3> flipped{};
  bool operator==(const Orientation&) const = default;
};

/// The closest orientation, as nibabel 5.0's io_orientation: from the rotation nearest to the affine's
/// normalised columns (polar decomposition); ties go to the lower axis. The affine must be invertible.
Orientation closest_orientation(const Affine& affine);

/// The end that each voxel axis points to, e.g. "RAS", "LPS", "PIR" (nibabel's aff2axcodes).
std::string orientation_code(const Affine& affine);

/// Degrees between the voxel axes and the closest anatomical axes, the largest of the three; 0 for an image
/// that flips and permutations alone make canonical.
double obliquity_degrees(const Affine& affine);

/// Largest deviation from 90 degrees between two voxel axes; 0 for an affine without shear.
double shear_degrees(const Affine& affine);

/// Largest distance in mm between the places of the same corner voxel on two grids: 0 for one and the same
/// grid, infinite if the extents differ. Headers in float32 put the same grid within about 1e-3 mm.
double grid_distance(const Geometry& a, const Geometry& b);

}  // namespace vg::data
