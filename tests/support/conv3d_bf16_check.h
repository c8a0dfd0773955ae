// Runs a convolution of bfloat16 and its gradients on one case and compares with the oracle.
#pragma once

#include "support/bfloat16_conv_check.h"
#include "support/conv3d_check.h"

namespace vg::test {

class Conv3dBfloat16Check : public Bfloat16ConvCheck<kernels::Conv3dParams> {
 public:
  Conv3dBfloat16Check(const Conv3dCase& c, const kernels::Exec& exec, bool exact)
      : Bfloat16ConvCheck(c.params, c.n, c.d, c.h, c.w, exec, exact) {}

  using Bfloat16ConvCheck::run;
  /// The public functions.
  void run(const Placement& x_place = {}, const Placement& y_place = {}) const {
    run(
        x_place, y_place,
        [&](View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias) {
          kernels::conv3d_forward(y, x, weight, bias, params(), exec());
        },
        [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
          kernels::conv3d_backward_input(dx, dy, weight, params(), exec());
        },
        [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
          kernels::conv3d_backward_weight(dweight, dy, x, params(), exec());
        });
  }
};

}  // namespace vg::test
