// Convolutions in inference: weights that are prepared once, and an activation behind the sums. On the CPU.
//
// In inference a batch norm is an affine map with constants, which the weights and bias of the convolution
// before it take up; what is left of the norm's pass over memory is the activation, and that is applied
// before a result is stored.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/common/simd.h"
#include "kernels/conv3d/conv3d.h"

namespace vg::kernels {

/// An activation that a convolution applies to its result: identity, relu, leaky_relu or prelu. `slope`:
/// [params.slope_count] for prelu, else null.
struct OutputActivation {
  ActivationParams params{.kind = ActivationKind::identity};
  const float* slope = nullptr;
};

/// In which order an algorithm reads weights: that of the direct method, or transformed for Winograd tiles of
/// D x H outputs. Vectors of output channels lie together: the instruction set belongs to it.
enum class WeightOrder : uint8_t { direct, winograd_2x2, winograd_2x4, winograd_4x4 };
struct WeightPacking {
  cpu::Isa isa = cpu::Isa::portable;
  WeightOrder order = WeightOrder::direct;
  /// Weights are rounded to bfloat16 and so are, on their way into the products, inputs (of Winograd
  /// algorithms their transforms); sums, bias and results stay float.
  bool bfloat16 = false;
  bool operator==(const WeightPacking&) const = default;
};

/// Weights in that order, from pack_weights.
struct PackedWeights {
  const float* data = nullptr;
  WeightPacking packing = {};
};

/// True if the processor multiplies pairs of bfloat16 in the instruction set in force (AVX512_BF16).
bool has_fast_bfloat16_products();

/// The packing that conv3d_forward takes on the CPU for inputs of x's shape and halo. `bfloat16_products`:
/// with them where they pay, which is not the case for kernels of 1. Throws std::invalid_argument for
/// parameters that conv3d_forward refuses, and for bfloat16_products with AVX-512 on a processor without
/// AVX512_BF16 (with other instruction sets they are computed with floats).
WeightPacking conv3d_packing(const View<const float>& x, const Conv3dParams& params,
                             bool bfloat16_products = false);

/// Number of floats in whose place the packed weights lie.
int64_t conv3d_packed_floats(const WeightPacking& packing, const Conv3dParams& params);

/// Packs weights in PyTorch's order; overwrites packed[conv3d_packed_floats()]. Throws std::invalid_argument
/// unless exec is of the CPU and the packing of the active instruction set.
void conv3d_pack(float* packed, const float* weight, const WeightPacking& packing, const Conv3dParams& params,
                 const Exec& exec);

/// y = activation(convolution(x) + bias), see conv3d.h; overwrites y. bias: [out] or null. The sums are those
/// of conv3d_forward with plain weights, bit by bit. Throws std::invalid_argument if shapes or params do not
/// fit, if the weights are packed for others, and on CUDA.
void conv3d_forward(View<float> y, View<const float> x, const PackedWeights& weights, const float* bias,
                    const OutputActivation& activation, const Conv3dParams& params, const Exec& exec);

}  // namespace vg::kernels
