#include "kernels/augment/anisotropy.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/augment/axis_filter.h"
#include "kernels/common/check.h"

namespace vg::kernels {

namespace {

// Two resamplings with the rules of ITK's ResampleImageFilter. Coarse voxel c has its centre at
// c * factor + (factor - 1) / 2 of the fine grid, and takes the nearest fine voxel (0 if it lies more than
// half a voxel beyond the last centre); fine voxel i then takes the two coarse ones around it.
std::vector<float> anisotropy_matrix(int64_t length, double factor) {
  const auto coarse_length = static_cast<int64_t>(std::ceil(static_cast<double>(length) / factor));
  const auto source = [&](int64_t coarse) -> int64_t {  // -1: outside
    const double place = static_cast<double>(coarse) * factor + (factor - 1) / 2;
    return place < static_cast<double>(length) - 0.5 ? static_cast<int64_t>(std::floor(place + 0.5)) : -1;
  };
  std::vector<float> matrix(static_cast<size_t>(length * length));
  for (int64_t i = 0; i < length; ++i) {
    const double place = (static_cast<double>(i) - (factor - 1) / 2) / factor, lower = std::floor(place);
    const auto add = [&](double coarse, double weight) {
      const int64_t from = source(std::clamp<int64_t>(static_cast<int64_t>(coarse), 0, coarse_length - 1));
      if (from >= 0) matrix[static_cast<size_t>(i * length + from)] += static_cast<float>(weight);
    };
    add(lower, 1 - (place - lower));
    add(lower + 1, place - lower);
  }
  return matrix;
}

}  // namespace

void anisotropy(View<float> y, View<const float> x, const AnisotropyParams& params, const Exec& exec) {
  check_volumes("anisotropy", y, x);
  const int64_t length = axis_length("anisotropy", x, params.axis);
  require(params.downsampling >= 1 && std::isfinite(params.downsampling), "anisotropy: the downsampling is ",
          params.downsampling, ", expected at least 1");
  axis_filter(y, x, anisotropy_matrix(length, static_cast<double>(params.downsampling)), params.axis, false,
              exec);
}

}  // namespace vg::kernels
