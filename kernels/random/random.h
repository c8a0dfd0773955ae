// Random fills, the same on every device and for any thread count.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

/// y[i] = low + (high - low) * philox_uniform(seed, offset, i); overwrites.
void random_uniform(View<float> y, float low, float high, uint64_t seed, uint64_t offset, const Exec& exec);

/// y[i] normal with the given mean and standard deviation (Box-Muller on pairs); overwrites. CPU and CUDA
/// agree to the accuracy of log, sin and cos.
void random_normal(View<float> y, float mean, float deviation, uint64_t seed, uint64_t offset,
                   const Exec& exec);

}  // namespace vg::kernels
