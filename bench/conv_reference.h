// Single elements of a convolution's results in double: what contestants are checked against, for a whole
// result takes minutes. Not the sums of any kernel: see tests/support/conv_oracle.h for the same of small
// volumes.
#pragma once

#include <vector>

#include "bench/opponents/conv_opponent.h"
#include "bench/report.h"

namespace vg::bench {

/// Element `index` of the result of the task's pass, in the order of Opponent::result().
double conv_element(const ConvTask& task, int64_t index);

/// Of some elements, spread over the result and chosen by a fixed rule. The bound is that of sums in float
/// for `result_type` float32, of one rounding for bfloat16.
Deviation conv_deviation(const ConvTask& task, const std::vector<float>& result, DType result_type);

/// Multiples of 1/8 from -7/8 to 7/8: exact in every type that is raced, so that all read the same operands.
std::vector<float> exact_values(int64_t count, uint32_t seed);

}  // namespace vg::bench
