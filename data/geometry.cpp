#include "data/geometry.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "data/error.h"

namespace vg::data {
namespace {

using Matrix = std::array<std::array<double, 3>, 3>;

Matrix linear_part(const Affine& affine) {
  Matrix m;
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 3; ++column) m[row][column] = affine[row][column];
  return m;
}

double determinant(const Matrix& m) {
  return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
         m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
         m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

Matrix inverse(const Matrix& m) {
  const double d = determinant(m);
  Matrix result;
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 3; ++column) {  // cofactors, with the signs taken from cyclic indices
      const size_t a = (column + 1) % 3, b = (column + 2) % 3, c = (row + 1) % 3, e = (row + 2) % 3;
      result[row][column] = (m[a][c] * m[b][e] - m[a][e] * m[b][c]) / d;
    }
  return result;
}

/// Columns scaled to length 1.
Matrix normalized_columns(const Affine& affine) {
  Matrix m = linear_part(affine);
  const std::array<double, 3> spacing = Geometry{{}, affine}.spacing();
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 3; ++column) m[row][column] /= spacing[column];
  return m;
}

/// The rotation (or reflection) nearest to m: Newton's iteration X <- (X + X^-T) / 2 for the orthogonal
/// factor of the polar decomposition (Higham 1986), which converges for every invertible matrix.
Matrix nearest_rotation(Matrix m) {
  for (int iteration = 0; iteration < 100; ++iteration) {
    const Matrix inverted = inverse(m);
    double change = 0;
    for (size_t row = 0; row < 3; ++row)
      for (size_t column = 0; column < 3; ++column) {
        const double next = (m[row][column] + inverted[column][row]) / 2;
        change = std::max(change, std::abs(next - m[row][column]));
        m[row][column] = next;
      }
    if (change < 1e-15) break;
  }
  return m;
}

double degrees(double cosine) {
  return std::acos(std::clamp(cosine, -1.0, 1.0)) * 180 / std::numbers::pi;
}

}  // namespace

Point to_millimetres(const Affine& affine, const Point& index) {
  Point point;
  for (size_t row = 0; row < 3; ++row)
    point[row] =
        affine[row][0] * index[0] + affine[row][1] * index[1] + affine[row][2] * index[2] + affine[row][3];
  return point;
}

double determinant(const Affine& affine) {
  return determinant(linear_part(affine));
}

bool is_invertible(const Affine& affine) {
  for (const auto& row : affine)
    for (const double value : row)
      if (!std::isfinite(value)) return false;
  const std::array<double, 3> spacing = Geometry{{}, affine}.spacing();
  // Relative to the volume of a box with these edges: independent of units and of thin slices.
  return std::abs(determinant(affine)) > 1e-6 * spacing[0] * spacing[1] * spacing[2];
}

Affine inverse(const Affine& affine) {
  if (!is_invertible(affine))
    throw DataError("affine: found a singular matrix, expected one that can be inverted");
  const Matrix m = inverse(linear_part(affine));
  Affine result;
  for (size_t row = 0; row < 3; ++row) {
    for (size_t column = 0; column < 3; ++column) result[row][column] = m[row][column];
    result[row][3] = -(m[row][0] * affine[0][3] + m[row][1] * affine[1][3] + m[row][2] * affine[2][3]);
  }
  return result;
}

Affine compose(const Affine& outer, const Affine& inner) {
  Affine result;
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 4; ++column)
      result[row][column] = outer[row][0] * inner[0][column] + outer[row][1] * inner[1][column] +
                            outer[row][2] * inner[2][column] + (column == 3 ? outer[row][3] : 0);
  return result;
}

Orientation closest_orientation(const Affine& affine) {
  const Matrix rotation = nearest_rotation(normalized_columns(affine));
  Orientation result;
  std::array<bool, 3> taken{};
  for (size_t axis = 0; axis < 3; ++axis) {
    double largest = -1;
    for (size_t row = 0; row < 3; ++row) {
      if (taken[row] || !(std::abs(rotation[row][axis]) > largest)) continue;
      largest = std::abs(rotation[row][axis]);
      result.anatomical_axis[axis] = static_cast<int>(row);
    }
    const size_t chosen = static_cast<size_t>(result.anatomical_axis[axis]);
    taken[chosen] = true;
    result.flipped[axis] = rotation[chosen][axis] < 0;
  }
  return result;
}

std::string orientation_code(const Affine& affine) {
  const Orientation orientation = closest_orientation(affine);
  std::string code;
  for (size_t axis = 0; axis < 3; ++axis)
    code += (orientation.flipped[axis] ? "LPI" : "RAS")[orientation.anatomical_axis[axis]];
  return code;
}

double obliquity_degrees(const Affine& affine) {
  const Matrix columns = normalized_columns(affine);
  const Orientation orientation = closest_orientation(affine);
  double largest = 0;
  for (size_t axis = 0; axis < 3; ++axis)
    largest = std::max(
        largest, degrees(std::abs(columns[static_cast<size_t>(orientation.anatomical_axis[axis])][axis])));
  return largest;
}

double shear_degrees(const Affine& affine) {
  const Matrix columns = normalized_columns(affine);
  double largest = 0;
  for (size_t a = 0; a < 3; ++a) {
    const size_t b = (a + 1) % 3;
    const double cosine =
        columns[0][a] * columns[0][b] + columns[1][a] * columns[1][b] + columns[2][a] * columns[2][b];
    largest = std::max(largest, std::abs(degrees(cosine) - 90));
  }
  return largest;
}

double grid_distance(const Geometry& a, const Geometry& b) {
  if (a.extent != b.extent) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (int corner = 0; corner < 8; ++corner) {
    Point index;
    for (size_t axis = 0; axis < 3; ++axis)
      index[axis] = (corner >> axis & 1) != 0 ? static_cast<double>(a.extent[axis] - 1) : 0;
    const Point p = to_millimetres(a.affine, index), q = to_millimetres(b.affine, index);
    largest = std::max(largest, std::hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]));
  }
  return largest;
}

}  // namespace vg::data
