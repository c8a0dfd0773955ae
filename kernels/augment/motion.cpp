// A filter along W for each moved copy: with bands B_k that together are the whole spectrum,
//   y = x + sum over movements k of B_k (x_k - x).
#include "kernels/augment/motion.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "kernels/augment/axis_filter.h"
#include "kernels/augment/warp_impl.h"
#include "kernels/common/check.h"
#include "kernels/elementwise/elementwise.h"

namespace vg::kernels {

namespace {

/// Planes of the centred spectrum, and the movement of the volume from which they are taken.
struct Band {
  int64_t begin, end;
  size_t movement;
};

/// The bands of moved volumes. TorchIO lists the volume at rest before the moved ones and then exchanges it
/// with the one whose band ends at the first time above one half, or with the last if there is none.
std::vector<Band> moved_bands(const std::vector<float>& times, int64_t width) {
  const auto above_half = std::find_if(times.begin(), times.end(), [](float t) { return t > 0.5f; });
  std::vector<size_t> volumes(times.size() + 1);  // 0: at rest, else one more than the movement's index
  std::iota(volumes.begin(), volumes.end(), size_t{0});
  std::swap(volumes.front(), volumes[static_cast<size_t>(above_half - times.begin())]);
  std::vector<Band> bands;
  int64_t begin = 0;
  for (size_t i = 0; i < volumes.size(); ++i) {
    const int64_t end = i < times.size() ? static_cast<int64_t>(static_cast<float>(width) * times[i]) : width;
    if (volumes[i] != 0 && begin < end) bands.push_back({begin, end, volumes[i] - 1});
    begin = end;
  }
  return bands;
}

/// The matrix that keeps the planes [begin, end) of the centred spectrum of rows of `width`; of the result,
/// the real part is taken. Plane s is frequency s - width / 2.
std::vector<float> band_matrix(const Band& band, int64_t width) {
  std::vector<double> cosine(static_cast<size_t>(width)), kernel(static_cast<size_t>(width));
  for (int64_t i = 0; i < width; ++i)
    cosine[static_cast<size_t>(i)] =
        std::cos(2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(width));
  for (int64_t i = 0; i < width; ++i) {
    double sum = 0;
    for (int64_t s = band.begin; s < band.end; ++s)
      sum += cosine[static_cast<size_t>(std::abs(s - width / 2) * i % width)];
    kernel[static_cast<size_t>(i)] = sum / static_cast<double>(width);
  }
  std::vector<float> matrix;
  for (int64_t row = 0; row < width; ++row) {
    for (int64_t column = 0; column < width; ++column)
      matrix.push_back(static_cast<float>(kernel[static_cast<size_t>(std::abs(row - column))]));
  }
  return matrix;
}

/// Planes [first, first + planes) of a view.
template <class T>
View<T> planes_of(View<T> view, int64_t first, int64_t planes) {
  view.data = view.at(0, first, 0);
  view.d = planes;
  return view;
}

void check(const View<float>& y, const View<const float>& x, const MotionParams& params) {
  check_volumes<float>("motion", y, x);
  require(params.times.size() == params.movements.size(), "motion: found ", params.times.size(),
          " times and ", params.movements.size(), " movements, expected a movement for each time");
  float before = 0;
  for (const float time : params.times) {
    require(time > 0 && time >= before && time < 1, "motion: time ", time, " after ", before,
            ", expected times in ascending order between 0 and 1");
    before = time;
  }
}

}  // namespace

void motion(View<float> y, View<const float> x, const MotionParams& params, const Exec& exec) {
  check(y, x, params);
  const std::vector<Band> bands = moved_bands(params.times, x.w);
  std::vector<std::vector<float>> matrices;
  for (const Band& band : bands) matrices.push_back(band_matrix(band, x.w));
  if (bands.empty()) return copy(y, x, exec);

  WorkspaceScope scope(*exec.workspace);
  const View<const float> packed = pack_volumes(x, scope, exec);
  const float* const fill = fill_values(x, std::nullopt, scope, exec);
  // On a CPU a few planes at a time, which stay in a cache from warp to filter.
  const int64_t planes_at_once = exec.device == DeviceKind::cpu ? std::min<int64_t>(x.d, 4) : x.d;
  float* const scratch = scope.allocate<float>(static_cast<size_t>(x.n * planes_at_once * x.h * x.w));
  for (int64_t first = 0; first < x.d; first += planes_at_once) {
    const int64_t planes = std::min(planes_at_once, x.d - first);
    const View<float> part = planes_of(y, first, planes);
    const View<const float> at_rest = planes_of(x, first, planes);
    const View<float> moved = contiguous_view(scratch, x.n, planes, x.h, x.w, 1);
    copy(part, at_rest, exec);
    for (size_t k = 0; k < bands.size(); ++k) {
      Places places = affine_places(params.movements[bands[k].movement]);
      for (auto& row : places.matrix) row[3] += static_cast<double>(first) * row[0];
      warp_packed(moved, packed, places, fill, exec);
      accumulate(moved, at_rest, -1, exec);
      axis_filter(part, moved, matrices[k], 2, true, exec);
    }
  }
}

}  // namespace vg::kernels
