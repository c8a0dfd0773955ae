// Convolution of what an attention gate and a norm would leave side by side (the merge of Attention U-Net),
// where neither has been stored: the first half of the channels is the gate's result, made of the skip
// connection and the scores as they are read, the other half the norm's. bfloat16 on CUDA only.
#pragma once

#include "kernels/attention_gate/attention_gate.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_narrow_gradient.h"

namespace vg::kernels {

/// The input: as many channels from `skip` as from `rest`.
struct GatedInput {
  View<const bfloat16> skip;           ///< x of the gate, before gate.norm_of_x
  View<const float> scores;            ///< as attention_gate_forward() leaves them
  AttentionGateStatistics statistics;  ///< likewise; psi's are read
  AttentionGateWeights weights;        ///< psi's gamma and beta are read
  AttentionGateParams gate;
  View<const bfloat16> rest;
  InputNorm norm_of_rest;  ///< of all its channels
};

/// Whether conv3d_forward() and conv3d_backward_weight() of a gradient that is made make such an input of
/// rows of so many voxels as they read it, where voxels lie at multiples of 16 bytes, skip and rest alike,
/// and the device has tensor cores: else, and for a gradient that is there, a pass of each stores it in
/// scratch memory.
bool conv3d_applies_gate(const Conv3dParams& params, int64_t width);

/// conv3d_forward() and conv3d_backward_weight() of this input, to the bits of one that
/// attention_gate_forward() and norm3d_apply() store.
void conv3d_forward(View<bfloat16> y, const OutputStatistics& statistics, const GatedInput& x,
                    const float* weight, const float* bias, const Conv3dParams& params, const Exec& exec);
void conv3d_backward_weight(float* dweight, View<const bfloat16> dy, const GatedInput& x,
                            const Conv3dParams& params, const Exec& exec);
void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NormInputGradient& source,
                            const GatedInput& x, const Conv3dParams& params, const Exec& exec);
void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                            const GatedInput& x, const Conv3dParams& params, const Exec& exec);

/// conv3d_backward() of a narrow gradient and this input.
void conv3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                     const GatedInput& x, const float* weight, const Conv3dParams& params, const Exec& exec);

// Called with checked arguments.
namespace cuda {
void conv3d_forward(View<bfloat16> y, const OutputStatistics& statistics, const GatedInput& x,
                    const float* weight, const float* bias, const Conv3dParams& params, const Exec& exec);
void conv3d_backward_weight(float* dweight, View<const bfloat16> dy, const GatedInput& x,
                            const Conv3dParams& params, const Exec& exec);
void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NormInputGradient& source,
                            const GatedInput& x, const Conv3dParams& params, const Exec& exec);
void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                            const GatedInput& x, const Conv3dParams& params, const Exec& exec);
void conv3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                     const GatedInput& x, const float* weight, const Conv3dParams& params, const Exec& exec);
}  // namespace cuda

}  // namespace vg::kernels
