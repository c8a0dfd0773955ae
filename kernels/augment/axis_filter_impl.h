#pragma once

#include "kernels/augment/axis_filter.h"
#include "kernels/common/dispatch.h"

namespace vg::kernels {

// `matrix` is host memory: length x length floats.
VG_DECLARE_IMPLEMENTATIONS(void axis_filter(View<float> y, View<const float> x, const float* matrix, int axis,
                                            bool accumulate, const Exec& exec);)

}  // namespace vg::kernels
