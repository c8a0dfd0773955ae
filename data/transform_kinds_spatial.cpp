// Transforms that move voxels: drawn once for a subject, the same for all its images and its labels.
#include <cmath>
#include <stdexcept>

#include "data/byte_source.h"
#include "data/rigid.h"
#include "data/transform_kinds.h"
#include "kernels/augment/flip.h"
#include "kernels/augment/warp.h"
#include "kernels/common/philox.h"

namespace vg::data {
namespace {

using kernels::Exec;
using kernels::View;

// ---- Affine ----

/// TorchIO Affine: scaled, then rotated and shifted, about `center`; a voxel is taken from the inverse.
kernels::WarpParams affine_warp(const Parameters& p, const Geometry& geometry) {
  const Point center = center_of_rotation(p, geometry);
  const Point scales = p.three("scales"), degrees = p.three("degrees"), shift = p.three("translation");
  for (const double scale : scales) {
    if (!(scale > 0)) throw std::invalid_argument(join_text("scales: found ", scale, ", expected above 0"));
  }
  // Angles and shifts are given in RAS, ITK computes in LPS.
  const Affine rotated =
      euler_rotation({-degrees[0], -degrees[1], degrees[2]}, {-shift[0], -shift[1], shift[2]}, center);
  const Affine forward = compose(scaling(scales, center), rotated);
  kernels::WarpParams params;
  params.matrix = in_voxels(inverse(forward), geometry);
  return params;
}

TransformKind affine_kind() {
  return {
      .name = "affine",
      .summary = "scaling, rotation and shift",
      .for_each_image = false,
      .parameters = {{"scales", "1", "1 or 3 factors; above 1 things look larger"},
                     {"degrees", "0", "1 or 3 rotations"},
                     {"translation", "0", "1 or 3 shifts in millimetres"},
                     {"center", "image", "image or origin (of the world)"},
                     {"default_pad_value", "minimum", "of voxels from outside: minimum or a number"}},
      .random_parameters = {{"scales", "0.1", "d is (1-d,1+d); or (a,b), or for each axis"},
                            {"degrees", "10", "d is (-d,d); or (a,b), or for each axis"},
                            {"translation", "0", "millimetres; d is (-d,d); or (a,b), or for each axis"},
                            {"isotropic", "0", "1: one factor for all axes"},
                            {"center", "image", "image or origin (of the world)"},
                            {"default_pad_value", "minimum", "of voxels from outside: minimum or a number"}},
      .draw =
          [](const Parameters& a, Draws& draws) {
            const auto drawn = [&](std::string_view name, double around, double least) {
              std::vector<double> numbers;
              for (const auto& axis : three_ranges(a, name, around, least))
                numbers.push_back(draws.uniform(axis));
              return numbers;
            };
            std::vector<double> scales = drawn("scales", 1, 0);
            if (a.integer("isotropic") != 0) scales = {scales[0], scales[0], scales[0]};
            Parameters p;
            p.set("scales", scales);
            p.set("degrees", drawn("degrees", 0, -1e30));
            p.set("translation", drawn("translation", 0, -1e30));
            p.set("center", a.value("center"));
            p.set("default_pad_value", a.value("default_pad_value"));
            return p;
          },
      .images =
          [](View<float> y, View<const float> x, const Parameters& p, const Geometry& geometry,
             const Exec& exec) {
            kernels::WarpParams params = affine_warp(p, geometry);
            const std::string& word = p.value("default_pad_value").word;
            if (word.empty()) {
              params.fill = static_cast<float>(p.number("default_pad_value"));
            } else if (word != "minimum") {
              throw std::invalid_argument("default_pad_value: found \"" + word +
                                          "\", expected minimum or a number");
            }
            warp(y, x, params, exec);
          },
      .labels = [](View<uint8_t> y, View<const uint8_t> x, const Parameters& p, const Geometry& geometry,
                   const Exec& exec) { warp(y, x, affine_warp(p, geometry), exec); }};
}

// ---- Elastic deformation ----

struct ControlGrid {
  std::array<int64_t, 3> points;
  std::vector<double> displacement;  ///< [points][points][points][3], LPS millimetres
};

/// True for the control points whose displacement is held at zero: the outermost `borders` layers along the
/// locked axes.
bool is_locked(const std::array<int64_t, 3>& at, const std::array<int64_t, 3>& points, int64_t borders,
               const std::array<bool, 3>& locked_axes) {
  for (size_t axis = 0; axis < 3; ++axis) {
    if (locked_axes[axis] && (at[axis] < borders || at[axis] >= points[axis] - borders)) return true;
  }
  return false;
}

std::array<int64_t, 3> control_points_of(const Parameters& p) {
  std::array<int64_t, 3> points;
  const std::array<double, 3> n = p.three("num_control_points");
  for (size_t axis = 0; axis < 3; ++axis) {
    if (std::trunc(n[axis]) != n[axis] || n[axis] < 4 || n[axis] > 64)
      throw std::invalid_argument(join_text("num_control_points: found ", n[axis], ", expected 4 to 64"));
    points[axis] = static_cast<int64_t>(n[axis]);
  }
  return points;
}

ControlGrid drawn_grid(const Parameters& p) {
  ControlGrid grid{control_points_of(p), {}};
  const Point largest = p.three("max_displacement");
  const int64_t borders = p.integer("locked_borders");
  std::array<bool, 3> locked_axes{};
  for (const double axis : p.numbers("locked_axes"))
    locked_axes[static_cast<size_t>(checked_axis(axis))] = true;
  const auto seed = static_cast<uint64_t>(p.integer("seed"));
  const auto [nd, nh, nw] = grid.points;
  grid.displacement.resize(static_cast<size_t>(nd * nh * nw * 3));
  for (size_t i = 0; i < grid.displacement.size(); ++i) {
    const auto point = static_cast<int64_t>(i / 3);
    const std::array<int64_t, 3> at{point / (nh * nw), point / nw % nh, point % nw};
    const float share = kernels::philox_uniform(seed, 0, i);  // drawn for locked points too: as TorchIO does
    grid.displacement[i] =
        is_locked(at, grid.points, borders, locked_axes) ? 0 : (2.0 * share - 1) * largest[i % 3];
  }
  return grid;
}

ControlGrid given_grid(const Parameters& p) {
  ControlGrid grid{control_points_of(p), p.numbers("control_points")};
  const auto [nd, nh, nw] = grid.points;
  if (static_cast<int64_t>(grid.displacement.size()) != nd * nh * nw * 3)
    throw std::invalid_argument(join_text("control_points: found ", grid.displacement.size(),
                                          " numbers, expected three for each of num_control_points"));
  return grid;
}

/// How axes of the control grid lie along those of the volume. ITK's BSplineTransformInitializer makes the
/// grid run along the world's axes, to the left, back and top, whichever way the volume's axes run.
struct GridAxis {
  size_t of_grid;
  bool reversed;
};

std::array<GridAxis, 3> grid_axes(const Geometry& geometry) {
  const Orientation orientation = closest_orientation(geometry.affine);
  std::array<GridAxis, 3> axes;
  for (size_t axis = 0; axis < 3; ++axis) {
    const auto world = static_cast<size_t>(orientation.anatomical_axis[axis]);
    axes[axis] = {world, (world == 2) == orientation.flipped[axis]};
  }
  return axes;
}

/// The spline in voxels, on a grid placed as ITK's BSplineTransformInitializer does: the volume, wider by
/// half a voxel and an eighth on either side, is cut into points - 3 cells, and a point more lies around it.
kernels::WarpParams elastic_warp(const Parameters& p, const Geometry& geometry) {
  const ControlGrid grid = p.has("control_points") ? given_grid(p) : drawn_grid(p);
  const std::array<GridAxis, 3> axes = grid_axes(geometry);
  constexpr double margin = 0.125;
  kernels::SplineDisplacement spline;
  for (size_t axis = 0; axis < 3; ++axis) {
    spline.points[axis] = grid.points[axes[axis].of_grid];
    spline.step[axis] = static_cast<double>(spline.points[axis] - 3) /
                        (static_cast<double>(geometry.extent[axis]) + 2 * margin);
    spline.first[axis] = 1 + (0.5 + margin) * spline.step[axis];
  }
  const Affine to_voxels = inverse(lps_affine(geometry));
  const auto [nd, nh, nw] = spline.points;
  for (int64_t i = 0; i < nd * nh * nw; ++i) {
    const std::array<int64_t, 3> at{i / (nh * nw), i / nw % nh, i % nw};
    std::array<int64_t, 3> of_grid{};
    for (size_t axis = 0; axis < 3; ++axis)
      of_grid[axes[axis].of_grid] = axes[axis].reversed ? spline.points[axis] - 1 - at[axis] : at[axis];
    const double* const moved =
        grid.displacement.data() +
        3 * ((of_grid[0] * grid.points[1] + of_grid[1]) * grid.points[2] + of_grid[2]);
    for (const auto& row : to_voxels)
      spline.displacement.push_back(
          static_cast<float>(row[0] * moved[0] + row[1] * moved[1] + row[2] * moved[2]));
  }
  kernels::WarpParams params;
  params.spline = std::move(spline);
  return params;
}

/// What random and deterministic elastic deformation share.
std::vector<ParameterSpec> elastic_parameters(std::vector<ParameterSpec> more) {
  std::vector<ParameterSpec> specs = {
      {"num_control_points", "7", "along each axis, 1 or 3 numbers"},
      {"max_displacement", "7.5", "of a control point in millimetres, 1 or 3 numbers"},
      {"locked_borders", "2", "layers of control points at the border that stay in place: 0, 1 or 2"},
      {"locked_axes", "(0,1,2)", "axes whose borders are locked"}};
  specs.insert(specs.end(), more.begin(), more.end());
  return specs;
}

TransformKind elastic_kind() {
  return {
      .name = "elastic",
      .summary = "smooth random deformation by a B-spline",
      .for_each_image = false,
      .parameters = elastic_parameters(
          {{"seed", "0", "of the displacements"},
           {"control_points", "none", "displacements in mm (LPS) instead of random ones"}}),
      .random_parameters = elastic_parameters({}),
      .draw =
          [](const Parameters& a, Draws& draws) {
            const int64_t borders = a.integer("locked_borders");
            if (borders < 0 || borders > 2) throw std::invalid_argument("locked_borders: expected 0, 1 or 2");
            for (const int64_t points : control_points_of(a)) {
              if (borders == 2 && points < 5)
                throw std::invalid_argument(
                    "num_control_points: with 2 locked borders and 4 points nothing is left to move; use 5");
            }
            Parameters p = a;
            p.set("seed", draws.seed());
            return p;
          },
      .images = [](View<float> y, View<const float> x, const Parameters& p, const Geometry& geometry,
                   const Exec& exec) { warp(y, x, elastic_warp(p, geometry), exec); },
      .labels = [](View<uint8_t> y, View<const uint8_t> x, const Parameters& p, const Geometry& geometry,
                   const Exec& exec) { warp(y, x, elastic_warp(p, geometry), exec); }};
}

// ---- Flip ----

std::array<bool, 3> flipped_axes(const Parameters& p) {
  std::array<bool, 3> axes{};
  for (const double axis : p.numbers("axes")) axes[static_cast<size_t>(checked_axis(axis))] = true;
  return axes;
}

TransformKind flip_kind() {
  return {.name = "flip",
          .summary = "mirroring",
          .for_each_image = false,
          .parameters = {{"axes", "", "some of 0, 1, 2"}},
          .random_parameters = {{"axes", "0", "that may be mirrored"},
                                {"flip_probability", "0.5", "of each axis"}},
          .draw =
              [](const Parameters& a, Draws& draws) {
                const std::array<bool, 3> may = flipped_axes(a);
                const double probability = a.number("flip_probability");
                if (!(probability >= 0 && probability <= 1))
                  throw std::invalid_argument("flip_probability: expected 0 to 1");
                std::vector<double> axes;
                for (size_t axis = 0; axis < 3; ++axis) {
                  const double u = draws.uniform(0, 1);  // for each axis, whatever may be mirrored
                  if (may[axis] && probability > u) axes.push_back(static_cast<double>(axis));
                }
                Parameters p;
                p.set("axes", axes);
                return p;
              },
          .images = [](View<float> y, View<const float> x, const Parameters& p, const Geometry&,
                       const Exec& exec) { flip(y, x, flipped_axes(p), exec); },
          .labels = [](View<uint8_t> y, View<const uint8_t> x, const Parameters& p, const Geometry&,
                       const Exec& exec) { flip(y, x, flipped_axes(p), exec); }};
}

}  // namespace

std::vector<TransformKind> spatial_kinds() {
  return {elastic_kind(), affine_kind(), flip_kind()};
}

}  // namespace vg::data
