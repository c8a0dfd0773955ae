#include "kernels/augment/blur.h"

#include <cmath>
#include <vector>

#include "kernels/augment/axis_filter.h"
#include "kernels/common/check.h"
#include "kernels/elementwise/elementwise.h"

namespace vg::kernels {

namespace {

// The voxel that a place beyond the faces mirrors, as often as need be.
int64_t reflected(int64_t place, int64_t length) {
  const int64_t period = 2 * length, rest = (place % period + period) % period;
  return rest < length ? rest : period - 1 - rest;
}

std::vector<float> blur_matrix(int64_t length, double deviation) {
  const auto radius = static_cast<int64_t>(4 * deviation + 0.5);
  std::vector<double> kernel;
  double sum = 0;
  for (int64_t distance = -radius; distance <= radius; ++distance) {
    const double u = static_cast<double>(distance) / deviation;
    kernel.push_back(std::exp(-0.5 * u * u));
    sum += kernel.back();
  }
  std::vector<double> matrix(static_cast<size_t>(length * length));
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t k = -radius; k <= radius; ++k)
      matrix[static_cast<size_t>(i * length + reflected(i + k, length))] +=
          kernel[static_cast<size_t>(k + radius)] / sum;
  }
  return {matrix.begin(), matrix.end()};
}

}  // namespace

void blur(View<float> y, View<const float> x, const BlurParams& params, const Exec& exec) {
  check_volumes("blur", y, x);
  std::vector<int> axes;
  for (int axis = 0; axis < 3; ++axis) {
    const float deviation = params.deviation[static_cast<size_t>(axis)];
    require(deviation >= 0 && std::isfinite(deviation), "blur: the standard deviation along axis ", axis,
            " is ", deviation, ", expected at least 0");
    if (deviation > 0) axes.push_back(axis);
  }
  if (axes.empty()) return copy(y, x, exec);
  WorkspaceScope scope(*exec.workspace);
  const View<float> scratch =
      axes.size() == 1
          ? y
          : contiguous_view(scope.allocate<float>(static_cast<size_t>(x.voxels())), x.n, x.d, x.h, x.w, 1);
  for (size_t i = 0; i < axes.size(); ++i) {
    const View<float> to = (axes.size() - i) % 2 == 1 ? y : scratch;  // the last one writes y
    const double deviation = static_cast<double>(params.deviation[static_cast<size_t>(axes[i])]);
    axis_filter(to, x, blur_matrix(axis_length("blur", x, axes[i]), deviation), axes[i], false, exec);
    x = to;
  }
}

}  // namespace vg::kernels
