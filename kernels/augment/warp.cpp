#include "kernels/augment/warp.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/augment/warp_impl.h"
#include "kernels/common/check.h"

namespace vg::kernels {

namespace {

constexpr std::array<char, 3> axis_names{'D', 'H', 'W'};

/// The uniform cubic B-spline's weights at fraction t in [0, 1] between its second and third point.
std::array<double, 4> cubic_basis(double t) {
  const double s = 1 - t;
  return {s * s * s / 6, (4 - 6 * t * t + 3 * t * t * t) / 6, (4 - 6 * s * s + 3 * s * s * s) / 6,
          t * t * t / 6};
}

/// For each voxel of an axis. The last valid place, points - 2, is the end of the last interval, as in ITK's
/// BSplineTransform.
std::vector<SplineTaps> tabulate(int64_t extent, int64_t points, double first, double step) {
  std::vector<SplineTaps> table(static_cast<size_t>(extent), SplineTaps{});
  const auto highest = static_cast<double>(points) - 2;
  for (int64_t i = 0; i < extent; ++i) {
    const double place = first + static_cast<double>(i) * step;
    // Neighbours along the axis have neighbouring points, with weights or without.
    const double lower = std::fmin(std::fmax(std::floor(place), 1), highest - 1);
    SplineTaps& taps = table[static_cast<size_t>(i)];
    taps.first = static_cast<int32_t>(lower) - 1;
    if (!(place >= 1 && place <= highest)) continue;
    const auto weights = cubic_basis(place - lower);
    std::transform(weights.begin(), weights.end(), taps.weight,
                   [](double v) { return static_cast<float>(v); });
  }
  return table;
}

void check_spline(const SplineDisplacement& spline) {
  int64_t floats = 3;
  for (size_t a = 0; a < 3; ++a) {
    require(spline.points[a] >= 4, "warp: the spline has ", spline.points[a], " control points along ",
            axis_names[a], ", expected at least 4");
    floats *= spline.points[a];
  }
  require(static_cast<int64_t>(spline.displacement.size()) == floats, "warp: the displacement has ",
          spline.displacement.size(), " values, expected ", floats);
}

template <class T>
Places make_places(const WarpParams& params, const View<T>& y, WorkspaceScope& scope, const Exec& exec) {
  Places places = affine_places(params.matrix);
  if (!params.spline) return places;
  const SplineDisplacement& spline = *params.spline;
  places.spline.displacement = upload(spline.displacement, scope, exec);
  const std::array<int64_t, 3> extents{y.d, y.h, y.w};
  for (size_t a = 0; a < 3; ++a) {
    places.spline.points[a] = spline.points[a];
    places.spline.taps[a] =
        upload(tabulate(extents[a], spline.points[a], spline.first[a], spline.step[a]), scope, exec);
  }
  return places;
}

template <class T>
void check(const View<T>& y, const View<const T>& x, const WarpParams& params) {
  check_volumes<T>("warp", y, x);
  require((x.d + 2) * (x.h + 2) * (x.w + 2) <= std::numeric_limits<int32_t>::max(), "warp: volumes of ", x.d,
          " x ", x.h, " x ", x.w, " voxels are too large");
  if (params.spline) check_spline(*params.spline);
}

}  // namespace

Places affine_places(const std::array<std::array<double, 4>, 3>& matrix) {
  Places places{};
  for (size_t row = 0; row < 3; ++row) std::copy(matrix[row].begin(), matrix[row].end(), places.matrix[row]);
  return places;
}

View<const float> pack_volumes(View<const float> x, WorkspaceScope& scope,
                               [[maybe_unused]] const Exec& exec) {
  View<float> packed = contiguous_view<float>(nullptr, (x.n + volumes_a_group - 1) / volumes_a_group, x.d + 2,
                                              x.h + 2, x.w + 2, volumes_a_group);
  packed.data = scope.allocate<float>(static_cast<size_t>(packed.elements()));
  [&] { VG_CALL_CUDA(pack_volumes, packed, x, exec); }();
  return packed;
}

const float* fill_values(View<const float> x, std::optional<float> fill, WorkspaceScope& scope,
                         const Exec& exec) {
  std::vector<float> values(static_cast<size_t>(x.n), fill.value_or(0));
  if (!fill) {
    const auto statistics = volume_statistics(x, exec);
    std::transform(statistics.begin(), statistics.end(), values.begin(),
                   [](const VolumeStatistics& s) { return s.minimum; });
  }
  return upload(values, scope, exec);
}

void warp_packed([[maybe_unused]] View<float> y, [[maybe_unused]] View<const float> packed,
                 [[maybe_unused]] const Places& places, [[maybe_unused]] const float* fill,
                 [[maybe_unused]] const Exec& exec) {
  VG_CALL_CUDA(warp_packed, y, packed, places, fill, exec);
}

void warp(View<float> y, View<const float> x, const WarpParams& params, const Exec& exec) {
  check(y, x, params);
  WorkspaceScope scope(*exec.workspace);
  const Places places = make_places(params, y, scope, exec);
  const float* const fill = fill_values(x, params.fill, scope, exec);
  if (exec.device == DeviceKind::cuda)
    return warp_packed(y, pack_volumes(x, scope, exec), places, fill, exec);
  VG_CALL_CPU(warp_linear, y, x, places, fill, exec);
}

void warp(View<uint8_t> y, View<const uint8_t> x, const WarpParams& params, const Exec& exec) {
  check(y, x, params);
  WorkspaceScope scope(*exec.workspace);
  const float fill = params.fill.value_or(0);
  require(fill >= 0 && fill <= 255 && fill == std::floor(fill), "warp: fill ", fill, " is no label");
  const Places places = make_places(params, y, scope, exec);
  VG_DISPATCH(exec, warp_nearest, y, x, places, static_cast<uint8_t>(fill), exec);
}

}  // namespace vg::kernels
