#include "data/transforms.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "data/byte_source.h"
#include "data/geometry.h"
#include "kernels/common/parallel.h"

namespace vg::data {
namespace {

using kernels::cpu::parallel_for;

/// Rows of voxels handed to a thread at a time.
constexpr int64_t row_grain = 256;

/// The axes of a canonical volume, told in terms of the original: output axis a runs along original axis
/// source[a], backwards if flipped[a].
struct AxisMap {
  std::array<size_t, 3> source;
  std::array<bool, 3> flipped;
};

AxisMap canonical_axes(const Geometry& original) {
  const Orientation orientation = closest_orientation(original.affine);
  AxisMap map;
  for (size_t axis = 0; axis < 3; ++axis) {
    const size_t output = static_cast<size_t>(orientation.anatomical_axis[axis]);
    map.source[output] = axis;
    map.flipped[output] = orientation.flipped[axis];
  }
  return map;
}

/// Where the voxel at canonical index 0 lies in the original memory, and the strides of the canonical axes.
struct StridedGrid {
  int64_t offset = 0;
  std::array<int64_t, 3> stride{};
};

StridedGrid canonical_strides(const Geometry& original) {
  const AxisMap map = canonical_axes(original);
  const std::array<int64_t, 3> strides{1, original.extent[0], original.extent[0] * original.extent[1]};
  StridedGrid grid;
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t stride = strides[map.source[axis]];
    grid.stride[axis] = map.flipped[axis] ? -stride : stride;
    if (map.flipped[axis]) grid.offset += (original.extent[map.source[axis]] - 1) * stride;
  }
  return grid;
}

std::string show(const std::array<int64_t, 3>& extent) {
  return join_text(extent[0], "x", extent[1], "x", extent[2]);
}

void require_not_negative(const Bounds& bounds, const char* function) {
  for (const int64_t bound : bounds)
    if (bound < 0)
      throw std::invalid_argument(join_text(function, ": found ", bound, " voxels, expected 0 or more"));
}

template <class T>
void require_whole(const Volume<T>& volume, const char* function) {
  if (static_cast<int64_t>(volume.voxels.size()) != volume.geometry.voxels())
    throw std::invalid_argument(join_text(function, ": found ", volume.voxels.size(),
                                          " voxels, expected extents ", show(volume.geometry.extent)));
}

/// The grid whose voxel 0 is at `first` of `geometry`'s indices, with the same axes.
Geometry shifted(const Geometry& geometry, const Point& first, const std::array<int64_t, 3>& extent) {
  Geometry result{extent, geometry.affine};
  const Point origin = to_millimetres(geometry.affine, first);
  for (size_t row = 0; row < 3; ++row) result.affine[row][3] = origin[row];
  return result;
}

/// Copies a box of `extent` voxels from `source`, beginning at `from`, to `destination`, beginning at `to`.
template <class T>
void copy_box(const Volume<T>& source, const std::array<int64_t, 3>& from, Volume<T>& destination,
              const std::array<int64_t, 3>& to, const std::array<int64_t, 3>& extent) {
  parallel_for(extent[1] * extent[2], row_grain, [&](int64_t row) {
    const int64_t j = row % extent[1], k = row / extent[1];
    const T* in = source.voxels.data() + source.geometry.index(from[0], from[1] + j, from[2] + k);
    T* out = destination.voxels.data() + destination.geometry.index(to[0], to[1] + j, to[2] + k);
    std::memcpy(out, in, static_cast<size_t>(extent[0]) * sizeof(T));
  });
}

std::array<int64_t, 3> first_of(const Bounds& bounds) {
  return {bounds[0], bounds[2], bounds[4]};
}

}  // namespace

Geometry canonical_geometry(const Geometry& geometry) {
  const AxisMap map = canonical_axes(geometry);
  Geometry result;
  for (size_t row = 0; row < 3; ++row) result.affine[row][3] = geometry.affine[row][3];
  for (size_t axis = 0; axis < 3; ++axis) {
    const size_t source = map.source[axis];
    result.extent[axis] = geometry.extent[source];
    const double last = static_cast<double>(geometry.extent[source] - 1);
    for (size_t row = 0; row < 3; ++row) {
      const double step = geometry.affine[row][source];
      result.affine[row][axis] = map.flipped[axis] ? -step : step;
      if (map.flipped[axis]) result.affine[row][3] += step * last;
    }
  }
  return result;
}

Geometry cropped_geometry(const Geometry& geometry, const Bounds& bounds) {
  require_not_negative(bounds, "crop");
  std::array<int64_t, 3> extent;
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t removed = bounds[2 * axis] + bounds[2 * axis + 1];
    extent[axis] = geometry.extent[axis] - removed;
    if (extent[axis] < 1)
      throw DataError(join_text("crop: found ", geometry.extent[axis], " voxels along axis ", axis,
                                " (image of ", show(geometry.extent), "), expected more than the ", removed,
                                " to be cropped; use smaller bounds or the preprocessing \"none\""));
  }
  return shifted(
      geometry,
      {static_cast<double>(bounds[0]), static_cast<double>(bounds[2]), static_cast<double>(bounds[4])},
      extent);
}

Geometry padded_geometry(const Geometry& geometry, const Bounds& bounds) {
  require_not_negative(bounds, "pad");
  std::array<int64_t, 3> extent;
  for (size_t axis = 0; axis < 3; ++axis)
    extent[axis] = geometry.extent[axis] + bounds[2 * axis] + bounds[2 * axis + 1];
  return shifted(
      geometry,
      {-static_cast<double>(bounds[0]), -static_cast<double>(bounds[2]), -static_cast<double>(bounds[4])},
      extent);
}

Geometry resampled_geometry(const Geometry& geometry, const std::array<double, 3>& spacing) {
  const std::array<double, 3> old = geometry.spacing();
  std::array<int64_t, 3> extent;
  Point first;
  for (size_t axis = 0; axis < 3; ++axis) {
    if (!(spacing[axis] > 0) || !std::isfinite(spacing[axis]))
      throw std::invalid_argument(
          join_text("resample: found a spacing of ", spacing[axis], " mm, expected more than 0"));
    const double exact = std::ceil(static_cast<double>(geometry.extent[axis]) * old[axis] / spacing[axis]);
    if (exact > 65535)  // TorchIO's limit too (uint16)
      throw DataError(join_text("resample: found ", exact, " voxels along axis ", axis,
                                " of the result, expected at most 65535; use a larger spacing"));
    extent[axis] = geometry.extent[axis] == 1 ? 1 : static_cast<int64_t>(exact);
    first[axis] = 0.5 * (spacing[axis] / old[axis] - 1);
  }
  Geometry result = shifted(geometry, first, extent);
  for (size_t row = 0; row < 3; ++row)
    for (size_t axis = 0; axis < 3; ++axis)
      result.affine[row][axis] = geometry.affine[row][axis] / old[axis] * spacing[axis];
  return result;
}

Bounds padding_to_multiple(const Geometry& geometry, const std::array<int64_t, 3>& multiple) {
  Bounds bounds;
  for (size_t axis = 0; axis < 3; ++axis) {
    if (multiple[axis] < 1)
      throw std::invalid_argument(
          join_text("ensure_shape_multiple: found a multiple of ", multiple[axis], ", expected 1 or more"));
    const int64_t missing = (multiple[axis] - geometry.extent[axis] % multiple[axis]) % multiple[axis];
    bounds[2 * axis] = (missing + 1) / 2;
    bounds[2 * axis + 1] = missing / 2;
  }
  return bounds;
}

template <class T>
Volume<T> to_canonical(const Volume<T>& volume) {
  require_whole(volume, "to_canonical");
  Volume<T> result{canonical_geometry(volume.geometry), std::vector<T>(volume.voxels.size())};
  const StridedGrid grid = canonical_strides(volume.geometry);
  const auto& extent = result.geometry.extent;
  parallel_for(extent[1] * extent[2], row_grain, [&](int64_t row) {
    const int64_t j = row % extent[1], k = row / extent[1];
    const T* in = volume.voxels.data() + (grid.offset + j * grid.stride[1] + k * grid.stride[2]);
    T* out = result.voxels.data() + row * extent[0];
    for (int64_t i = 0; i < extent[0]; ++i) out[i] = in[i * grid.stride[0]];
  });
  return result;
}

template <class T>
Volume<T> from_canonical(const Volume<T>& canonical, const Geometry& original) {
  require_whole(canonical, "from_canonical");
  const auto& extent = canonical.geometry.extent;
  if (canonical_geometry(original).extent != extent)
    throw std::invalid_argument(join_text("from_canonical: found ", show(extent), " voxels, expected ",
                                          show(canonical_geometry(original).extent)));
  Volume<T> result{original, std::vector<T>(canonical.voxels.size())};
  const StridedGrid grid = canonical_strides(original);
  parallel_for(extent[1] * extent[2], row_grain, [&](int64_t row) {
    const int64_t j = row % extent[1], k = row / extent[1];
    const T* in = canonical.voxels.data() + row * extent[0];
    T* out = result.voxels.data() + (grid.offset + j * grid.stride[1] + k * grid.stride[2]);
    for (int64_t i = 0; i < extent[0]; ++i) out[i * grid.stride[0]] = in[i];
  });
  return result;
}

template <class T>
Volume<T> crop(const Volume<T>& volume, const Bounds& bounds) {
  require_whole(volume, "crop");
  const Geometry geometry = cropped_geometry(volume.geometry, bounds);
  Volume<T> result{geometry, std::vector<T>(static_cast<size_t>(geometry.voxels()))};
  copy_box(volume, first_of(bounds), result, {}, geometry.extent);
  return result;
}

template <class T>
Volume<T> pad(const Volume<T>& volume, const Bounds& bounds, T fill) {
  require_whole(volume, "pad");
  const Geometry geometry = padded_geometry(volume.geometry, bounds);
  Volume<T> result{geometry, std::vector<T>(static_cast<size_t>(geometry.voxels()), fill)};
  copy_box(volume, {}, result, first_of(bounds), volume.geometry.extent);
  return result;
}

template <class T>
Volume<T> ensure_shape_multiple(const Volume<T>& volume, const std::array<int64_t, 3>& multiple) {
  return pad(volume, padding_to_multiple(volume.geometry, multiple));
}

template <class T>
Volume<T> resample(const Volume<T>& volume, const std::array<double, 3>& spacing,
                   Interpolation interpolation) {
  return resample_to(volume, resampled_geometry(volume.geometry, spacing), interpolation);
}

template Image to_canonical(const Image&);
template LabelMap to_canonical(const LabelMap&);
template Image from_canonical(const Image&, const Geometry&);
template LabelMap from_canonical(const LabelMap&, const Geometry&);
template Image crop(const Image&, const Bounds&);
template LabelMap crop(const LabelMap&, const Bounds&);
template Image pad(const Image&, const Bounds&, float);
template LabelMap pad(const LabelMap&, const Bounds&, uint8_t);
template Image ensure_shape_multiple(const Image&, const std::array<int64_t, 3>&);
template LabelMap ensure_shape_multiple(const LabelMap&, const std::array<int64_t, 3>&);
template Image resample(const Image&, const std::array<double, 3>&, Interpolation);
template LabelMap resample(const LabelMap&, const std::array<double, 3>&, Interpolation);

}  // namespace vg::data
