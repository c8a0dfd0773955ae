// Convolutions with what follows them, for inference with weights that no longer change.
#pragma once

#include "kernels/conv_transpose3d/conv_transpose3d_inference.h"
#include "layers/conv3d.h"
#include "layers/conv_transpose3d.h"
#include "layers/norm3d.h"

namespace vg {

/// A convolution or transposed convolution, the batch norm behind it and an activation as one pass, on the
/// CPU. With s = gamma / sqrt(running_var + eps), norm(conv(x, w, b)) = conv(x, s w, s (b - running_mean) +
/// beta): the norm is folded into weights and bias, in double, when this object is made; afterwards it is
/// independent of the modules. Weights are packed for the kernel at the first call, and again only if x's
/// extents ask for another packing.
class FoldedConv3d {
 public:
  /// `norm` may be null. The activation must not be sigmoid. `products`: bfloat16 rounds weights and inputs
  /// to it where that pays, see WeightPacking.
  FoldedConv3d(const Conv3d& convolution, const BatchNorm3d* norm, const FusedActivation& activation,
               DType products = DType::float32);
  FoldedConv3d(const ConvTranspose3d& convolution, const BatchNorm3d* norm, const FusedActivation& activation,
               DType products = DType::float32);

  /// x: float32 [N, D, H, W, in_channels]. `into`: memory for the result, or undefined. Not recorded. Throws
  /// std::invalid_argument if shapes do not fit.
  Tensor operator()(const Tensor& x, const Tensor& into = {}) const;

 private:
  [[nodiscard]] Tensor packed(const Tensor& x) const;
  [[nodiscard]] Tensor output(const Tensor& x) const;

  Conv3dParams params_;                      ///< unless transposed
  ConvTranspose3dParams transposed_params_;  ///< if transposed
  bool transposed_;
  bool bfloat16_products_;
  Tensor weight_, bias_, slope_;
  ActivationParams activation_;
  mutable kernels::WeightPacking packing_;  ///< of packed_
  mutable Tensor packed_;
};

/// A weight (out, in, k, k, k), or transposed (in, out, k, k, k), and a bias with the norm in them.
struct FoldedWeights {
  Tensor weight, bias;
};
/// `bias` may be undefined.
FoldedWeights fold_batch_norm(const Tensor& weight, const Tensor& bias, const BatchNorm3d& norm,
                              bool transposed = false);

}  // namespace vg
