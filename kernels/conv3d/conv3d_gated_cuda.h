// The kernels of a gated input, for whoever chooses among them.
#pragma once

#include "kernels/conv3d/conv3d_gated.h"

namespace vg::kernels::cuda {

/// conv3d_backward_halo_tile() of a narrow gradient likewise (conv3d_norm_gradient.cuh).
void conv3d_backward_halo_tile(View<bfloat16> dx, float* dweight, const NarrowGradient& source,
                               const GatedInput& x, const float* weight, int multiprocessors,
                               const Exec& exec);

/// Whether kernels make this input as they read it.
bool gate_applies(const GatedInput& x, const Conv3dParams& params);

/// conv3d_forward_halo_tile() and the two of conv3d_backward_weight_halo_tile(), where gate_applies().
void conv3d_forward_halo_tile(View<bfloat16> y, const GatedInput& x, const float* weight, const float* bias,
                              const Conv3dParams& params, int multiprocessors, const Exec& exec,
                              const OutputStatistics& statistics);
void conv3d_backward_weight_halo_tile(float* dweight, View<const bfloat16> dy, const GatedInput& x,
                                      int multiprocessors, const Exec& exec, const NormInputGradient& source,
                                      View<bfloat16> made);
void conv3d_backward_weight_halo_tile(float* dweight, const NarrowGradient& source, const GatedInput& x,
                                      int multiprocessors, const Exec& exec, View<bfloat16> made);

}  // namespace vg::kernels::cuda
