// Runs a convolution of bfloat16 and its gradients on one case and compares with the oracle.
#pragma once

#include "support/bfloat16_conv_check.h"
#include "support/conv3d_check.h"

namespace vg::test {

class Conv3dBfloat16Check : public Bfloat16ConvCheck<kernels::Conv3dParams> {
 public:
  Conv3dBfloat16Check(const Conv3dCase& c, const kernels::Exec& exec, bool exact)
      : Bfloat16ConvCheck(c.params, c.n, c.d, c.h, c.w, exec, exact) {}
};

}  // namespace vg::test
