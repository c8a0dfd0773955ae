// Argument checks that convolution and transposed convolution share.
#pragma once

#include "kernels/common/check.h"
#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

/// Channels, samples and pointers of x and y (or their gradients) against the parameters. Throws
/// std::invalid_argument.
template <class X, class Y, class Params>
void check_convolution_operands(const char* function, const View<X>& x, const View<Y>& y, const float* weight,
                                const Params& p, const Exec& exec) {
  require(p.in_channels > 0 && p.out_channels > 0, function, ": channels are ", p.in_channels, " and ",
          p.out_channels, ", expected at least 1");
  require(x.c == p.in_channels, function, ": the input has ", x.c, " channels, expected ", p.in_channels);
  require(y.c == p.out_channels, function, ": the output has ", y.c, " channels, expected ", p.out_channels);
  require(x.n == y.n, function, ": the input has ", x.n, " samples, the output ", y.n);
  require(weight != nullptr, function, ": the weight pointer is null");
  require(exec.workspace != nullptr, function, ": the workspace pointer is null");
}

/// The output's extent along an axis against the one that follows from the input's.
inline void check_output_extent(const char* function, char axis, int64_t input, int64_t output,
                                int64_t expected) {
  require(output == expected, function, ": the output's extent along ", axis, " is ", output, ", expected ",
          expected, " for an input of ", input);
}

}  // namespace vg::kernels
