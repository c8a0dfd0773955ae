#include "data/rigid.h"

#include <cmath>
#include <numbers>
#include <stdexcept>

#include "data/byte_source.h"

namespace vg::data {
namespace {

Affine rotation_about(size_t axis, double degrees) {
  const double radians = degrees * std::numbers::pi / 180, c = std::cos(radians), s = std::sin(radians);
  const size_t a = (axis + 1) % 3, b = (axis + 2) % 3;
  Affine m{};
  m[axis][axis] = 1;
  m[a][a] = m[b][b] = c;
  m[a][b] = -s;
  m[b][a] = s;
  return m;
}

/// `linear` about `center`, then shifted.
Affine about(Affine linear, const Point& center, const Point& translation) {
  for (size_t row = 0; row < 3; ++row) {
    linear[row][3] = center[row] + translation[row];
    for (size_t column = 0; column < 3; ++column) linear[row][3] -= linear[row][column] * center[column];
  }
  return linear;
}

}  // namespace

Affine euler_rotation(const Point& degrees, const Point& translation, const Point& center) {
  const Affine rotation = compose(rotation_about(2, degrees[2]),
                                  compose(rotation_about(0, degrees[0]), rotation_about(1, degrees[1])));
  return about(rotation, center, translation);
}

Affine scaling(const Point& scales, const Point& center) {
  Affine m{};
  for (size_t axis = 0; axis < 3; ++axis) m[axis][axis] = scales[axis];
  return about(m, center, {});
}

Affine lps_affine(const Geometry& geometry) {
  Affine affine = geometry.affine;
  for (size_t column = 0; column < 4; ++column) {
    affine[0][column] = -affine[0][column];
    affine[1][column] = -affine[1][column];
  }
  return affine;
}

Affine in_voxels(const Affine& millimetres, const Geometry& geometry) {
  const Affine world = lps_affine(geometry);
  return compose(inverse(world), compose(millimetres, world));
}

Point image_center(const Geometry& geometry) {
  Point index;
  for (size_t axis = 0; axis < 3; ++axis) index[axis] = static_cast<double>(geometry.extent[axis] - 1) / 2;
  return to_millimetres(lps_affine(geometry), index);
}

Point center_of_rotation(const Parameters& parameters, const Geometry& geometry) {
  const std::string& center = parameters.value("center").word;
  if (center == "image") return image_center(geometry);
  if (center == "origin") return {0, 0, 0};
  throw std::invalid_argument(join_text("center: found \"", center, "\", expected image or origin"));
}

int checked_axis(double axis) {
  if (axis != 0 && axis != 1 && axis != 2)
    throw std::invalid_argument(join_text("axis: found ", axis, ", expected 0, 1 or 2"));
  return static_cast<int>(axis);
}

}  // namespace vg::data
