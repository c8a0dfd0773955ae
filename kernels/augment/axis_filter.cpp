#include "kernels/augment/axis_filter.h"

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

}  // namespace vg::kernels
