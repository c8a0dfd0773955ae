// A filter along W for each moved copy: with bands B_k that together are the whole spectrum,
//   y = x + sum over movements k of B_k (x_k - x).
#include "kernels/augment/motion.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/augment/axis_filter.h"
#include "kernels/augment/motion_impl.h"
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

/// What keeps the planes [begin, end) of the centred spectrum of rows of `width`, as a kernel; of the result,
/// the real part is taken. Plane s is frequency s - width / 2.
std::vector<float> band_kernel(const Band& band, int64_t width) {
  std::vector<double> factors(static_cast<size_t>(width));
  std::fill(factors.begin() + band.begin, factors.begin() + band.end, 1.0);
  const std::vector<double> kernel = spectral_kernel(factors);
  return {kernel.begin(), kernel.end()};
}

/// As filter_moved, one step after the other over whole volumes.
void filter_moved_volumes(View<float> y, View<const float> x, const std::vector<MovedBand>& bands,
                          const float* fill, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const View<const float> packed = pack_volumes(x, scope, exec);
  const View<float> moved =
      contiguous_view(scope.allocate<float>(static_cast<size_t>(x.elements())), x.n, x.d, x.h, x.w, 1);
  copy(y, x, exec);
  for (const MovedBand& band : bands) {
    std::vector<float> matrix;
    for (int64_t i = 0; i < x.w; ++i) {
      for (int64_t j = 0; j < x.w; ++j) matrix.push_back(band.kernel[std::abs(i - j)]);
    }
    warp_packed(moved, packed, band.places, fill, exec);
    accumulate(moved, x, -1, exec);
    axis_filter(y, moved, matrix, 2, true, exec);
  }
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
  std::vector<std::vector<float>> kernels;
  std::vector<MovedBand> bands;
  for (const Band& band : moved_bands(params.times, x.w)) {
    kernels.push_back(band_kernel(band, x.w));
    bands.push_back({affine_places(params.movements[band.movement]), kernels.back().data()});
  }
  if (bands.empty()) return copy(y, x, exec);
  WorkspaceScope scope(*exec.workspace);
  const float* const fill = fill_values(x, std::nullopt, scope, exec);
  if (exec.device == DeviceKind::cuda) return filter_moved_volumes(y, x, bands, fill, exec);
  VG_CALL_CPU(filter_moved, y, x, bands.data(), static_cast<int64_t>(bands.size()), fill, exec);
}

}  // namespace vg::kernels
