// Transposed convolutions in inference, see kernels/conv3d/conv3d_inference.h.
#pragma once

#include "kernels/conv3d/conv3d_inference.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"

namespace vg::kernels {

/// The packing that conv_transpose3d_forward takes on the CPU; bfloat16_products for kernels of 3, as in
/// conv3d_packing.
WeightPacking conv_transpose3d_packing(const ConvTranspose3dParams& params, bool bfloat16_products = false);
/// Number of floats in whose place the packed weights lie.
int64_t conv_transpose3d_packed_floats(const WeightPacking& packing, const ConvTranspose3dParams& params);
/// As conv3d_pack.
void conv_transpose3d_pack(float* packed, const float* weight, const WeightPacking& packing,
                           const ConvTranspose3dParams& params, const Exec& exec);
/// y = activation(transposed convolution(x) + bias), as conv3d_forward.
void conv_transpose3d_forward(View<float> y, View<const float> x, const PackedWeights& weights,
                              const float* bias, const OutputActivation& activation,
                              const ConvTranspose3dParams& params, const Exec& exec);

}  // namespace vg::kernels
