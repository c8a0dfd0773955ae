// Resampling onto any grid, with the rules of ITK's ResampleImageFilter.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "data/byte_source.h"
#include "data/geometry.h"
#include "data/transforms.h"
#include "kernels/common/parallel.h"

namespace vg::data {
namespace {

/// ITK's IsInsideBuffer: within half a voxel of the outermost centres. NaN is outside.
bool inside(double index, int64_t extent) {
  return index >= -0.5 && index < static_cast<double>(extent) - 0.5;
}

/// The two neighbours of a continuous index and the weight of the upper one; at the edge both are the edge.
struct Neighbours {
  int64_t lower, upper;
  float weight;
};

Neighbours neighbours(double index, int64_t extent) {
  const double floor = std::floor(index);
  const int64_t lower = static_cast<int64_t>(floor);
  return {std::max<int64_t>(lower, 0), std::min(lower + 1, extent - 1), static_cast<float>(index - floor)};
}

int64_t nearest(double index, int64_t extent) {
  return std::min(static_cast<int64_t>(std::floor(index + 0.5)), extent - 1);
}

float lerp(float a, float b, float weight) {
  return a + weight * (b - a);
}

template <class T>
T convert(float value) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(std::lround(value));
  else
    return value;
}

/// One sample; `index` is inside.
template <class T>
T sample(const Volume<T>& volume, const Point& index, Interpolation interpolation) {
  const auto& extent = volume.geometry.extent;
  const T* voxels = volume.voxels.data();
  if (interpolation == Interpolation::nearest)
    return voxels[volume.geometry.index(nearest(index[0], extent[0]), nearest(index[1], extent[1]),
                                        nearest(index[2], extent[2]))];
  const Neighbours x = neighbours(index[0], extent[0]), y = neighbours(index[1], extent[1]),
                   z = neighbours(index[2], extent[2]);
  const auto row = [&](int64_t j, int64_t k) {
    const T* line = voxels + volume.geometry.index(0, j, k);
    return lerp(static_cast<float>(line[x.lower]), static_cast<float>(line[x.upper]), x.weight);
  };
  return convert<T>(lerp(lerp(row(y.lower, z.lower), row(y.upper, z.lower), y.weight),
                         lerp(row(y.lower, z.upper), row(y.upper, z.upper), y.weight), z.weight));
}

}  // namespace

template <class T>
Volume<T> resample_to(const Volume<T>& volume, const Geometry& target, Interpolation interpolation,
                      T outside) {
  const auto& extent = volume.geometry.extent;
  if (static_cast<int64_t>(volume.voxels.size()) != volume.geometry.voxels() || volume.voxels.empty())
    throw std::invalid_argument(join_text("resample_to: found ", volume.voxels.size(), " voxels, expected ",
                                          volume.geometry.voxels()));
  Volume<T> result{target, std::vector<T>(static_cast<size_t>(target.voxels()))};
  // Target voxel -> place in the source: affine, so each target row is a line through the source.
  Affine map = compose(inverse(volume.geometry.affine), target.affine);
  // Grids that share their axes: rounding must not tilt them.
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 3; ++column)
      if (row != column && std::abs(map[row][column]) < 1e-10) map[row][column] = 0;
  kernels::cpu::parallel_for(target.extent[1] * target.extent[2], 64, [&](int64_t row) {
    const int64_t j = row % target.extent[1], k = row / target.extent[1];
    T* out = result.voxels.data() + row * target.extent[0];
    const Point begin = to_millimetres(map, {0, static_cast<double>(j), static_cast<double>(k)});
    for (int64_t i = 0; i < target.extent[0]; ++i) {
      Point index;
      bool within = true;
      for (size_t axis = 0; axis < 3; ++axis) {
        index[axis] = begin[axis] + static_cast<double>(i) * map[axis][0];
        within = within && inside(index[axis], extent[axis]);
      }
      out[i] = within ? sample(volume, index, interpolation) : outside;
    }
  });
  return result;
}

template Image resample_to(const Image&, const Geometry&, Interpolation, float);
template LabelMap resample_to(const LabelMap&, const Geometry&, Interpolation, uint8_t);

}  // namespace vg::data
