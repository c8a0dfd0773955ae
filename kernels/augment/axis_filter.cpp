#include "kernels/augment/axis_filter.h"

#include <cmath>
#include <numbers>

#include "kernels/augment/axis_filter_impl.h"

namespace vg::kernels {

int64_t axis_length(const char* function, const View<const float>& x, int axis) {
  require(axis >= 0 && axis <= 2, function, ": the axis is ", axis, ", expected 0, 1 or 2");
  return axis == 0 ? x.d : axis == 1 ? x.h : x.w;
}

void axis_filter(View<float> y, View<const float> x, std::span<const float> matrix, int axis, bool accumulate,
                 const Exec& exec) {
  check_volumes("axis_filter", y, x);
  const int64_t length = axis_length("axis_filter", x, axis);
  require(static_cast<int64_t>(matrix.size()) == length * length, "axis_filter: the matrix has ",
          matrix.size(), " elements, expected ", length, " x ", length, " for axis ", axis);
  VG_DISPATCH(exec, axis_filter, y, x, matrix.data(), axis, accumulate, exec);
}

// (1 / L) sum over the frequencies k of factor[k] cos(2 pi k distance / L).
std::vector<double> spectral_kernel(std::span<const double> factors) {
  const auto length = static_cast<int64_t>(factors.size());
  std::vector<double> cosines, kernel(factors.size());
  for (int64_t i = 0; i < length; ++i)
    cosines.push_back(std::cos(2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(length)) /
                      static_cast<double>(length));
  for (int64_t distance = 0; distance < length; ++distance) {
    for (int64_t plane = 0; plane < length; ++plane) {
      const int64_t frequency = plane - length / 2 + length;  // not negative
      kernel[static_cast<size_t>(distance)] +=
          factors[static_cast<size_t>(plane)] * cosines[static_cast<size_t>(frequency * distance % length)];
    }
  }
  return kernel;
}

}  // namespace vg::kernels
