#pragma once

#include "kernels/common/dispatch.h"

namespace vg::kernels {

VG_DECLARE_IMPLEMENTATIONS(void random_uniform(View<float> y, float low, float high, uint64_t seed,
                                               uint64_t offset, const Exec& exec);
                           void random_normal(View<float> y, float mean, float deviation, uint64_t seed,
                                              uint64_t offset, const Exec& exec);)

}  // namespace vg::kernels
