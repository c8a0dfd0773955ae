#pragma once

#include "kernels/augment/flip.h"
#include "kernels/common/dispatch.h"

namespace vg::kernels {

VG_DECLARE_IMPLEMENTATIONS(void flip(View<float> y, View<const float> x, bool along_d, bool along_h,
                                     bool along_w, const Exec& exec);
                           void flip(View<uint8_t> y, View<const uint8_t> x, bool along_d, bool along_h,
                                     bool along_w, const Exec& exec);)

}  // namespace vg::kernels
