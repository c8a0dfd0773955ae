// Resampling of volumes at moved places as naive loops in double.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/augment/warp.h"

namespace vg::test {

using Place = std::array<double, 3>;
using PlaceMatrix = std::array<std::array<double, 4>, 3>;

/// Volumes [n, d, h, w], dense.
struct VolumeShape {
  int64_t n, d, h, w;
  int64_t voxels() const { return d * h * w; }
  int64_t count() const { return n * voxels(); }
  std::array<int64_t, 3> extents() const { return {d, h, w}; }
  size_t index(int64_t in, int64_t id, int64_t ih, int64_t iw) const {
    return static_cast<size_t>(((in * d + id) * h + ih) * w + iw);
  }
};

/// Calls body(index of the voxel, its place by `matrix` and `displacement`(d, h, w), its volume) for all.
template <class Displacement, class Body>
void for_each_place(const VolumeShape& s, const PlaceMatrix& matrix, const Displacement& displacement,
                    const Body& body) {
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t d = 0; d < s.d; ++d) {
      for (int64_t h = 0; h < s.h; ++h) {
        for (int64_t w = 0; w < s.w; ++w) {
          Place place = displacement(d, h, w);
          const double voxel[4] = {static_cast<double>(d), static_cast<double>(h), static_cast<double>(w), 1};
          for (size_t a = 0; a < 3; ++a) {
            for (size_t k = 0; k < 4; ++k) place[a] += matrix[a][k] * voxel[k];
          }
          body(s.index(n, d, h, w), place, n);
        }
      }
    }
  }
}

inline Place no_displacement(int64_t, int64_t, int64_t) {
  return {};
}

/// ITK's buffer: within half a voxel of the outermost centres.
inline bool inside_volume(const VolumeShape& s, const Place& place) {
  bool inside = true;
  for (size_t a = 0; a < 3; ++a)
    inside = inside && place[a] >= -0.5 && place[a] < static_cast<double>(s.extents()[a]) - 0.5;
  return inside;
}
/// Distance to the nearest face of that buffer, where rounding decides.
inline double distance_to_buffer_faces(const VolumeShape& s, const Place& place) {
  double distance = INFINITY;
  for (size_t a = 0; a < 3; ++a) {
    distance = std::min(
        {distance, std::abs(place[a] + 0.5), std::abs(place[a] - static_cast<double>(s.extents()[a]) + 0.5)});
  }
  return distance;
}

/// As a sum over the eight corners, those outside of the volume being its edge.
template <class T>
double trilinear(const std::vector<T>& x, const VolumeShape& s, int64_t n, const Place& place) {
  double sum = 0;
  for (int corner = 0; corner < 8; ++corner) {
    double weight = 1;
    std::array<int64_t, 3> voxel{};
    for (size_t a = 0; a < 3; ++a) {
      const double lower = std::floor(place[a]), fraction = place[a] - lower;
      const bool upper = (corner >> a & 1) != 0;
      weight *= upper ? fraction : 1 - fraction;
      voxel[a] = std::clamp<int64_t>(static_cast<int64_t>(lower) + (upper ? 1 : 0), 0, s.extents()[a] - 1);
    }
    sum += weight * static_cast<double>(x[s.index(n, voxel[0], voxel[1], voxel[2])]);
  }
  return sum;
}

template <class T>
T nearest(const std::vector<T>& x, const VolumeShape& s, int64_t n, const Place& place) {
  std::array<int64_t, 3> voxel{};
  for (size_t a = 0; a < 3; ++a)
    voxel[a] = std::min(static_cast<int64_t>(std::floor(place[a] + 0.5)), s.extents()[a] - 1);
  return x[s.index(n, voxel[0], voxel[1], voxel[2])];
}

/// The minimum of volume n.
template <class T>
double minimum_of(const std::vector<T>& x, const VolumeShape& s, int64_t n) {
  const auto first = x.begin() + static_cast<std::ptrdiff_t>(n * s.voxels());
  return static_cast<double>(*std::min_element(first, first + static_cast<std::ptrdiff_t>(s.voxels())));
}

/// Cox-de Boor's recursion for the cubic basis function with knots 0, 1, 2, 3, 4.
inline double cubic_spline(double t, int degree = 3, int knot = 0) {
  if (degree == 0) return t >= knot && t < knot + 1 ? 1 : 0;
  return ((t - knot) * cubic_spline(t, degree - 1, knot) +
          (knot + degree + 1 - t) * cubic_spline(t, degree - 1, knot + 1)) /
         degree;
}

/// The sum over all control points of the grid.
inline Place spline_displacement(const kernels::SplineDisplacement& spline, const Place& voxel) {
  Place g{}, result{};
  for (size_t a = 0; a < 3; ++a) {
    g[a] = spline.first[a] + voxel[a] * spline.step[a];
    if (!(g[a] >= 1 && g[a] <= static_cast<double>(spline.points[a] - 2))) return {};
  }
  size_t i = 0;
  for (int64_t p = 0; p < spline.points[0]; ++p) {
    for (int64_t q = 0; q < spline.points[1]; ++q) {
      for (int64_t r = 0; r < spline.points[2]; ++r) {
        const double weight = cubic_spline(g[0] - static_cast<double>(p) + 2) *
                              cubic_spline(g[1] - static_cast<double>(q) + 2) *
                              cubic_spline(g[2] - static_cast<double>(r) + 2);
        for (size_t a = 0; a < 3; ++a) result[a] += weight * double{spline.displacement[i++]};
      }
    }
  }
  return result;
}

/// The turns and shifts of a head: a rotation about the volume's centre by `angles` (radians, about D, H, W),
/// scaled, then moved by `shift`.
inline PlaceMatrix turned(const VolumeShape& s, const Place& angles, double scale, const Place& shift) {
  std::array<std::array<double, 3>, 3> m{{{scale, 0, 0}, {0, scale, 0}, {0, 0, scale}}};
  for (size_t axis = 0; axis < 3; ++axis) {
    const size_t p = (axis + 1) % 3, q = (axis + 2) % 3;
    const double c = std::cos(angles[axis]), sine = std::sin(angles[axis]);
    for (auto& row : m) {
      const double u = row[p], v = row[q];
      row[p] = u * c + v * sine;
      row[q] = v * c - u * sine;
    }
  }
  PlaceMatrix matrix{};
  for (size_t a = 0; a < 3; ++a) {
    const double centre = static_cast<double>(s.extents()[a] - 1) / 2;
    matrix[a][3] = centre + shift[a];
    for (size_t k = 0; k < 3; ++k) {
      matrix[a][k] = m[a][k];
      matrix[a][3] -= m[a][k] * static_cast<double>(s.extents()[k] - 1) / 2;
    }
  }
  return matrix;
}

}  // namespace vg::test
