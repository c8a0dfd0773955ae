#pragma once

#include "kernels/common/dispatch.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"
#include "kernels/conv_transpose3d/conv_transpose3d_inference.h"

namespace vg::kernels {

// Called with checked arguments.
VG_DECLARE_IMPLEMENTATIONS(
    void conv_transpose3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                                  const ConvTranspose3dParams& params, const Exec& exec);
    void conv_transpose3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                                         const ConvTranspose3dParams& params, const Exec& exec);
    void conv_transpose3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                                          const ConvTranspose3dParams& params, const Exec& exec);)

// Inference, see conv_transpose3d_inference.h.
VG_DECLARE_CPU_IMPLEMENTATIONS(
    int64_t conv_transpose3d_packed_floats(const WeightPacking& packing, const ConvTranspose3dParams& params);
    void conv_transpose3d_pack(float* packed, const float* weight, const WeightPacking& packing,
                               const ConvTranspose3dParams& params);
    void conv_transpose3d_forward(View<float> y, View<const float> x, const PackedWeights& weights,
                                  const float* bias, const OutputActivation& activation,
                                  const ConvTranspose3dParams& params, const Exec& exec);)

namespace cuda {
/// `statistics` may be null.
void conv_transpose3d_forward(View<bfloat16> y, const OutputStatistics* statistics, View<const bfloat16> x,
                              const float* weight, const float* bias, const ConvTranspose3dParams& params,
                              const Exec& exec);
void conv_transpose3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                     const ConvTranspose3dParams& params, const Exec& exec);
void conv_transpose3d_backward_weight(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                      const ConvTranspose3dParams& params, const Exec& exec);
void conv_transpose3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy,
                               const NormInputGradient& source, View<const bfloat16> x, const float* weight,
                               const ConvTranspose3dParams& params, const Exec& exec);
}  // namespace cuda

}  // namespace vg::kernels
