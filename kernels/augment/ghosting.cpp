#include "kernels/augment/ghosting.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/augment/axis_filter.h"
#include "kernels/common/check.h"
#include "kernels/elementwise/elementwise.h"

namespace vg::kernels {

namespace {

// What the planes of the centred spectrum are multiplied by.
std::vector<double> plane_factors(int64_t length, const GhostingParams& params) {
  std::vector<double> factors(static_cast<size_t>(length), 1.0);
  for (size_t plane = 0; plane < factors.size(); plane += static_cast<size_t>(params.num_ghosts))
    factors[plane] = 1 - static_cast<double>(params.intensity);
  int64_t first = length / 2, end = first + 1;
  if (params.restore) {
    // nearbyint takes halves to even, as numpy does.
    const auto half = static_cast<int64_t>(std::nearbyint(static_cast<double>(*params.restore) *
                                                          static_cast<double>(length))) /
                      2;
    first = length / 2 - half, end = length / 2 + half;
  }
  for (int64_t plane = first; plane < end; ++plane) factors[static_cast<size_t>(plane)] = 1;
  return factors;
}

// The real part of: Fourier transform, planes times factors, inverse transform. Row i weighs input j by
// (1 / L) sum over k of factor[k] cos(2 pi k (i - j) / L): a function of i - j modulo L.
std::vector<float> filter_matrix(const std::vector<double>& factors) {
  const auto length = static_cast<int64_t>(factors.size());
  std::vector<double> cosines(factors.size()), weights(factors.size());
  for (int64_t i = 0; i < length; ++i)
    cosines[static_cast<size_t>(i)] =
        std::cos(2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(length)) /
        static_cast<double>(length);
  for (int64_t distance = 0; distance < length; ++distance) {
    for (int64_t plane = 0; plane < length; ++plane) {
      const int64_t frequency = plane - length / 2 + length;  // not negative
      weights[static_cast<size_t>(distance)] +=
          factors[static_cast<size_t>(plane)] * cosines[static_cast<size_t>(frequency * distance % length)];
    }
  }
  std::vector<float> matrix(static_cast<size_t>(length * length));
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j < length; ++j)
      matrix[static_cast<size_t>(i * length + j)] =
          static_cast<float>(weights[static_cast<size_t>((i - j + length) % length)]);
  }
  return matrix;
}

}  // namespace

void ghosting(View<float> y, View<const float> x, const GhostingParams& params, const Exec& exec) {
  check_volumes("ghosting", y, x);
  const int64_t length = axis_length("ghosting", x, params.axis);
  require(params.num_ghosts >= 0, "ghosting: the number of ghosts is ", params.num_ghosts,
          ", expected at least 0");
  require(!params.restore || (*params.restore >= 0 && *params.restore <= 1),
          "ghosting: the restored share is ", params.restore.value_or(0), ", expected 0 to 1");
  if (params.num_ghosts == 0 || params.intensity == 0) return copy(y, x, exec);
  axis_filter(y, x, filter_matrix(plane_factors(length, params)), params.axis, false, exec);
}

}  // namespace vg::kernels
