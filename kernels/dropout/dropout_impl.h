#pragma once

#include "kernels/common/dispatch.h"
#include "kernels/dropout/dropout.h"

namespace vg::kernels {

VG_DECLARE_CPU_IMPLEMENTATIONS(void dropout(View<float> y, View<const float> x, const DropoutParams& params,
                                            const Exec& exec);)

// T is float or bfloat16.
namespace cuda {
template <class T>
void dropout(View<T> y, View<const T> x, const DropoutParams& params, const Exec& exec);
}  // namespace cuda

/// The element's fate, on every device.
struct KeepOrDrop {
  float probability, scale;
  VG_INLINE float operator()(float u, float x) const { return u < probability ? 0.0f : x * scale; }
};

}  // namespace vg::kernels
