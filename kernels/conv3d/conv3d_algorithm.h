// Which algorithm computes a convolution of bfloat16 on CUDA: an ordered list of candidates, of which the
// first that applies is taken. Host code without CUDA, so that the choice is tested without a GPU.
#pragma once

#include "kernels/conv3d/conv3d.h"

namespace vg::kernels {

/// What the choice depends on.
struct CudaLimits {
  int compute_capability;  ///< 80 for 8.0
  int64_t shared_bytes;    ///< of a block, where asked for explicitly
  int multiprocessors;
};

enum class Conv3dAlgorithm {
  halo_tile,
  gemm,
  gemm_warpgroup,
  strided_gemm,
  strided,
  first_layer,
  pointwise,
  tf32,
  direct
};

/// out and in are y and x, or for the gradient dx and dy.
bool halo_tile_applies(const Conv3dParams& params, const View<const bfloat16>& out,
                       const View<const bfloat16>& in, const CudaLimits& limits);

/// For multiples of 16 channels, kernel 3 with padding 1 or kernel 1, stride 1.
bool gemm_applies(const Conv3dParams& params, const View<const bfloat16>& out, const View<const bfloat16>& in,
                  const CudaLimits& limits);

/// Likewise with kernel 3 between 64 channels and more, on compute capability 9.0 alone.
bool gemm_warpgroup_applies(const Conv3dParams& params, const View<const bfloat16>& out,
                            const View<const bfloat16>& in, const CudaLimits& limits);

/// For kernel 3, stride 1, padding 1 from 1 to 4 channels at any address to multiples of 16: forward and the
/// gradient of the weights.
bool first_layer_applies(const Conv3dParams& params, const View<const bfloat16>& out,
                         const View<const bfloat16>& in, const CudaLimits& limits);

/// For kernel 1, stride 1, between 1 to 8 channels and 8, 16, 32 or 64; for all three functions.
bool pointwise_applies(const Conv3dParams& params, const View<const bfloat16>& out,
                       const View<const bfloat16>& in, const CudaLimits& limits);

/// The same for the gradient of the weights.
bool halo_wgrad_applies(const Conv3dParams& params, const View<const bfloat16>& dy,
                        const View<const bfloat16>& x, const CudaLimits& limits);

/// For both gradients at once, from a gradient of 16 channels that is made on the way: to 16 or 32 channels,
/// where a block has the shared memory.
bool halo_gradients_apply(const Conv3dParams& params, const View<const bfloat16>& dx,
                          const View<const bfloat16>& dy, const View<const bfloat16>& x,
                          const CudaLimits& limits);

bool gemm_wgrad_applies(const Conv3dParams& params, const View<const bfloat16>& dy,
                        const View<const bfloat16>& x, const CudaLimits& limits);

/// Kernel 3 with stride 2: forward (out and in are y and x), the gradient of the input (dx and dy) and that
/// of the weights.
bool strided_applies(const Conv3dParams& params, const View<const bfloat16>& out,
                     const View<const bfloat16>& in, const CudaLimits& limits);
bool strided_transposed_applies(const Conv3dParams& params, const View<const bfloat16>& out,
                                const View<const bfloat16>& in, const CudaLimits& limits);
bool strided_wgrad_applies(const Conv3dParams& params, const View<const bfloat16>& dy,
                           const View<const bfloat16>& x, const CudaLimits& limits);
/// Both gradients in one pass, from 16 to 32 channels, on devices with so much shared memory.
bool strided_gradients_apply(const Conv3dParams& params, const View<const bfloat16>& dx,
                             const View<const bfloat16>& dy, const View<const bfloat16>& x,
                             const CudaLimits& limits);

/// Both gradients of the transposed convolution in one pass, from 32 channels of x to 16 of dy; params are
/// those of the convolution that it is the transpose of.
bool transposed_gradients_apply(const Conv3dParams& params, const View<const bfloat16>& dx,
                                const NormInputGradient& source, const View<const bfloat16>& x,
                                const CudaLimits& limits);

/// The same as matrix products, for the deep levels, up to 63 (for the gradient of the weights 31) coarse
/// voxels along W. Forward: from 32 channels and more to multiples of 64.
bool strided_gemm_applies(const Conv3dParams& params, const View<const bfloat16>& out,
                          const View<const bfloat16>& in, const CudaLimits& limits);
/// From 64 channels and more to 32 and more.
bool strided_gemm_transposed_applies(const Conv3dParams& params, const View<const bfloat16>& out,
                                     const View<const bfloat16>& in, const CudaLimits& limits);
/// Between 32 and more fine and 64 and more coarse channels.
bool strided_gemm_wgrad_applies(const Conv3dParams& params, const View<const bfloat16>& dy,
                                const View<const bfloat16>& x, const CudaLimits& limits);

/// The first algorithm of the list that applies; `direct` always does.
Conv3dAlgorithm choose_conv3d_algorithm(const Conv3dParams& params, const View<const bfloat16>& out,
                                        const View<const bfloat16>& in, const CudaLimits& limits);
Conv3dAlgorithm choose_conv3d_backward_input_algorithm(const Conv3dParams& params,
                                                       const View<const bfloat16>& dx,
                                                       const View<const bfloat16>& dy,
                                                       const CudaLimits& limits);
Conv3dAlgorithm choose_conv3d_wgrad_algorithm(const Conv3dParams& params, const View<const bfloat16>& dy,
                                              const View<const bfloat16>& x, const CudaLimits& limits);

/// For float activations, all three functions and their transposes: multiples of 4 channels whose voxels lie
/// at multiples of 16 bytes.
bool tf32_applies(const Conv3dParams& params, const View<const float>& out, const View<const float>& in,
                  const CudaLimits& limits);

/// The choice for float activations, forward and gradients alike: `tf32` if it is allowed and applies, else
/// `direct`.
Conv3dAlgorithm choose_conv3d_float_algorithm(const Conv3dParams& params, const View<const float>& out,
                                              const View<const float>& in, bool allow_tf32,
                                              const CudaLimits& limits);

}  // namespace vg::kernels
