#include "kernels/augment/ghosting.h"

#include <cmath>
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

std::vector<float> ghosting_matrix(const std::vector<double>& factors) {
  const std::vector<double> kernel = spectral_kernel(factors);
  const size_t length = kernel.size();
  std::vector<float> matrix;
  for (size_t i = 0; i < length; ++i) {
    for (size_t j = 0; j < length; ++j)
      matrix.push_back(static_cast<float>(kernel[(i + length - j) % length]));
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
  axis_filter(y, x, ghosting_matrix(plane_factors(length, params)), params.axis, false, exec);
}

}  // namespace vg::kernels
