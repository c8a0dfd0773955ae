// The gradient of a norm's input where the norm's result goes through a convolution with kernel 1 to few
// channels (a network's last layer): the gradient of the result is a few multiply-adds from that of the
// classes, and is made wherever it is needed instead of being stored. On CUDA only.
#pragma once

#include "kernels/conv3d/conv3d.h"

namespace vg::kernels {

/// What NormInputGradient is made from there.
struct NarrowGradient {
  View<const bfloat16> dy;  ///< of the convolution with kernel 1, stride 1
  const float* weight;      ///< its own: [dy.c, x.c]
  View<const bfloat16> x;   ///< the norm's input
  InputNorm norm;
  const float* means;  ///< see norm3d_add_gradients()
};

/// All that conv3d_backward_through_norm() does but dx: leaves `means`.
void conv3d_backward_to_norm(float* dweight, float* dbias, const NormGradients& gradients, float* means,
                             View<const bfloat16> dy, View<const bfloat16> x, const InputNorm& norm,
                             const float* weight, const Conv3dParams& params, const Exec& exec);

/// The gradient of x, in a pass; overwrites dx.
void conv3d_make_gradient(View<bfloat16> dx, const NarrowGradient& source, const Exec& exec);

/// conv3d_backward_weight() of the convolution before the norm, for dy that has not been made yet: overwrites
/// dy; without data it is not stored. Costs no pass of its own between 16 channels, or from more to 16, of an
/// even number of voxels in a row, and 4 channels of source.dy.
void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                            View<const bfloat16> x, const InputNorm* norm, const Conv3dParams& params,
                            const Exec& exec);

/// Both gradients of that convolution: overwrites dx. One pass from 16 or 32 channels to 16 with a norm of x,
/// where a block has 142 KiB of shared memory; else dy is overwritten, in scratch memory if it has no data.
void conv3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                     View<const bfloat16> x, const InputNorm* norm, const float* weight,
                     const Conv3dParams& params, const Exec& exec);

/// Whether it does so in one pass, where norms and voxels are as they must be.
bool conv3d_makes_both_gradients_of_narrow(const Conv3dParams& params);

// Called with checked arguments.
namespace cuda {
void conv3d_backward_to_norm(float* dweight, float* dbias, const NormGradients& gradients, float* means,
                             View<const bfloat16> dy, View<const bfloat16> x, const InputNorm& norm,
                             const float* weight, const Conv3dParams& params, const Exec& exec);
void conv3d_make_gradient(View<bfloat16> dx, const NarrowGradient& source, const Exec& exec);
void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                            View<const bfloat16> x, const InputNorm* norm, const Conv3dParams& params,
                            const Exec& exec);
void conv3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                     View<const bfloat16> x, const InputNorm* norm, const float* weight,
                     const Conv3dParams& params, const Exec& exec);
}  // namespace cuda

}  // namespace vg::kernels
