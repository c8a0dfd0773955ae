// From degrees and millimetres to places in voxels, in the conventions of ITK (which TorchIO calls).
#pragma once

#include <string_view>

#include "data/geometry.h"
#include "data/transform_text.h"

namespace vg::data {

/// p -> rotation * (p - center) + center + translation, in LPS millimetres; rotation = Rz Rx Ry of the angles
/// about x, y, z (ITK's Euler3DTransform).
Affine euler_rotation(const Point& degrees, const Point& translation, const Point& center);

/// p -> center + (p - center) * scales.
Affine scaling(const Point& scales, const Point& center);

/// Voxel indices to LPS millimetres (ITK's world: x to the left, y to the back).
Affine lps_affine(const Geometry& geometry);

/// The map of voxel indices that is `millimetres` (LPS) in the world.
Affine in_voxels(const Affine& millimetres, const Geometry& geometry);

/// The place of voxel (extent - 1) / 2 in LPS millimetres.
Point image_center(const Geometry& geometry);

/// Parameter "center": "image" (its centre) or "origin" (of the world), in LPS millimetres.
Point center_of_rotation(const Parameters& parameters, const Geometry& geometry);

/// 0, 1 or 2. Throws std::invalid_argument for anything else.
int checked_axis(double axis);

}  // namespace vg::data
