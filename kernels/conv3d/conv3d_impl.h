#pragma once

#include "kernels/common/dispatch.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_inference.h"

namespace vg::kernels {

// Called with checked arguments.
VG_DECLARE_IMPLEMENTATIONS(
    void conv3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                        const Conv3dParams& params, const Exec& exec);
    void conv3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                               const Conv3dParams& params, const Exec& exec);
    void conv3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                                const Conv3dParams& params, const Exec& exec);)

namespace cuda {
/// `statistics` and `norm` may be null.
void conv3d_forward(View<bfloat16> y, const OutputStatistics* statistics, View<const bfloat16> x,
                    const InputNorm* norm, const float* weight, const float* bias, const Conv3dParams& params,
                    const Exec& exec);
void conv3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                           const Conv3dParams& params, const Exec& exec);
void conv3d_add_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                               const Conv3dParams& params, const Exec& exec);
void conv3d_backward_weight(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                            const InputNorm* norm, const Conv3dParams& params, const Exec& exec);
void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NormInputGradient& source,
                            View<const bfloat16> x, const InputNorm* norm, const Conv3dParams& params,
                            const Exec& exec);
void conv3d_backward(const InputGradient& of_x, float* dweight, View<bfloat16> dy,
                     const NormInputGradient& source, View<const bfloat16> x, const InputNorm* norm,
                     const float* weight, const Conv3dParams& params, const Exec& exec);
/// `means` may be null: then all is done.
void conv3d_backward_through_norm(View<bfloat16> dx, float* dweight, float* dbias,
                                  const NormGradients& gradients, View<const bfloat16> dy,
                                  View<const bfloat16> x, const InputNorm& norm, const float* weight,
                                  const Conv3dParams& params, float* means, const Exec& exec);
void conv3d_backward_through_norm(View<bfloat16> dx, float* dweight, const NormGradients& gradients,
                                  View<bfloat16> dy, const NormInputGradient& source, View<const bfloat16> x,
                                  const InputNorm& norm, const float* weight, const Conv3dParams& params,
                                  float* means, const Exec& exec);
}  // namespace cuda

// Inference, see conv3d_inference.h.
VG_DECLARE_CPU_IMPLEMENTATIONS(
    WeightOrder conv3d_weight_order(const View<const float>& x, const Conv3dParams& params);
    int64_t conv3d_packed_floats(const WeightPacking& packing, const Conv3dParams& params);
    void conv3d_pack(float* packed, const float* weight, const WeightPacking& packing,
                     const Conv3dParams& params);
    void conv3d_forward(View<float> y, View<const float> x, const PackedWeights& weights, const float* bias,
                        const OutputActivation& activation, const Conv3dParams& params, const Exec& exec);)

// The first with kernel 3 and stride 2; the others are names of the algorithms, see conv3d_method.h.
VG_DECLARE_CPU_IMPLEMENTATIONS(
    void conv3d_add_backward_input_strided(View<float> dx, View<const float> dy, const float* weight,
                                           const Conv3dParams& params, const Exec& exec);
    const char* forward_algorithm(const View<float>& y, const View<const float>& x,
                                  const Conv3dParams& params);
    const char* backward_input_algorithm(const View<float>& dx, const View<const float>& dy,
                                         const Conv3dParams& params);
    const char* backward_weight_algorithm(const View<const float>& dy, const View<const float>& x,
                                          const Conv3dParams& params);)

}  // namespace vg::kernels
