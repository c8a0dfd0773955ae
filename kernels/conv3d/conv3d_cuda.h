// CUDA's algorithms by name: for the choice among them, for conv_transpose3d (a transposed convolution is the
// gradient of a convolution with respect to its input, plus a bias), and for tests that compare them.
#pragma once

#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_algorithm.h"

namespace vg::kernels::cuda {

/// Of the current device.
CudaLimits cuda_limits();

/// What a kernel that makes the gradient of a norm's result is asked for by the norm, the next on the tape:
/// norm3d_add_gradients() from sums that it takes on the way, where norm_gradient_applies().
struct NormGradientRequest {
  View<const bfloat16> x;  ///< before the norm
  InputNorm norm;
  NormGradients gradients;
  float* means;  ///< see norm3d_add_gradients()
};
/// Such kernels take two sums.
inline bool norm_gradient_applies(const InputNorm& norm) {
  return norm.params.activation.kind != ActivationKind::prelu;
}

/// conv3d_forward by direct gathering on the CUDA cores, for any parameters and placement; also takes
/// kernel_size 2 with stride 2 and padding 0, as the next function and conv3d_backward_weight in this
/// namespace do. T is float or bfloat16; weights are rounded to T, sums are float.
template <class T>
void conv3d_forward_direct(View<T> y, View<const T> x, const float* weight, const float* bias,
                           const Conv3dParams& params, const Exec& exec);

/// The order of sums over voxels must not depend on the device: they are cut as for so many multiprocessors,
/// close to those that train (A100 108, RTX 4090 128, H100 132).
inline constexpr int wgrad_multiprocessors = 128;

/// Scratch memory for a tensor of this shape.
inline View<bfloat16> scratch_like(const View<const bfloat16>& v, WorkspaceScope& scope) {
  return contiguous_view(scope.allocate<bfloat16>(static_cast<size_t>(v.elements())), v.n, v.d, v.h, v.w,
                         v.c);
}

/// dx = bias (or 0 if null) + the transpose of the convolution applied to dy; overwrites dx.
template <class T>
void conv3d_backward_input_direct(View<T> dx, View<const T> dy, const float* weight, const float* bias,
                                  const Conv3dParams& params, const Exec& exec);

/// The same for float activations by the algorithm that is chosen.
void conv3d_backward_input_or_transpose(View<float> dx, View<const float> dy, const float* weight,
                                        const float* bias, const Conv3dParams& params, const Exec& exec);

/// Likewise for conv3d_backward_weight; T concerns dy and x alone.
template <class T>
void conv3d_backward_weight_direct(float* dweight, View<const T> dy, View<const T> x,
                                   const Conv3dParams& params, const Exec& exec);

/// out[i] += the sum over pieces of partials[piece * count + i], in double and in order.
void accumulate_pieces(float* out, const float* partials, int64_t count, int64_t pieces, const Exec& exec);

/// The same where the taps (1, 8 or 27) lie outside: dweight[pair of channels][tap] += the sum over pieces of
/// partials[piece][tap][pair].
void accumulate_taps(float* dweight, const float* partials, int64_t pairs, int64_t taps, int64_t pieces,
                     const Exec& exec);

/// conv3d_forward on tensor cores where halo_tile_applies() (conv3d_algorithm.h). The work is cut for a GPU
/// of so many multiprocessors (halo_grid()), on which the results do not depend; the order in which the
/// statistics of y (if not null; of the sums before they are rounded) are added does. A norm of x (if not
/// null) is applied as x is read, to the same bits as in a pass of its own; it needs statistics, and
/// input_norm_applies().
void conv3d_forward_halo_tile(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                              const float* bias, const Conv3dParams& params, int multiprocessors,
                              const Exec& exec, const OutputStatistics* statistics = nullptr,
                              const InputNorm* norm = nullptr);

/// conv3d_backward_input on tensor cores where halo_tile_applies(). What a norm of which dx is the gradient
/// of the result needs of dx (if not null) is summed on the way, from sums before they are rounded, in the
/// order of statistics.
void conv3d_backward_input_halo_tile(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                     const Conv3dParams& params, int multiprocessors, const Exec& exec,
                                     const NormGradientRequest* norm = nullptr);

/// conv3d_backward_weight on tensor cores where halo_wgrad_applies(). The order of sums follows from the cut:
/// the same number of multiprocessors gives the same bits. A norm of x as in the forward pass. `source`, if
/// not null: what dy is to be made from; dy is source->dy then. What is made is stored to `made` if that has
/// data: source->dy itself with 16 input channels alone, as others read it more than once. All three lie
/// alike, see norm_gradient_places().
void conv3d_backward_weight_halo_tile(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                      int multiprocessors, const Exec& exec, const InputNorm* norm = nullptr,
                                      const NormInputGradient* source = nullptr, View<bfloat16> made = {});

/// Both gradients in one pass where halo_gradients_apply(), of a gradient that is made of `source` on the way
/// and not stored (source.dy and source.x lie alike, see norm_gradient_places()): dx is the gradient of the
/// result of the norm of x, of which what the norm needs is summed. All sums are cut for so many
/// multiprocessors: the same number gives the same bits.
void conv3d_backward_halo_tile(View<bfloat16> dx, float* dweight, const NormInputGradient& source,
                               const NormGradientRequest& of_x, const float* weight, int multiprocessors,
                               const Exec& exec);

/// conv3d_forward as a matrix product on tensor cores where gemm_applies(). The sum over taps and channels is
/// cut into `pieces`, by default as many as fill a GPU; their number fixes the order of sums. The statistics
/// of y (if not null) are those of the sums before they are rounded; of each of several samples they are y's,
/// in a pass of their own.
void conv3d_forward_gemm(View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias,
                         const Conv3dParams& params, const Exec& exec, int64_t pieces = 0,
                         const OutputStatistics* statistics = nullptr);

/// conv3d_backward_input likewise.
void conv3d_backward_input_gemm(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                const Conv3dParams& params, const Exec& exec, int64_t pieces = 0);

/// The same two with the products of warpgroups, where gemm_warpgroup_applies(): kernel 3. Throw
/// std::invalid_argument on devices without them.
void conv3d_forward_gemm_warpgroup(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                                   const float* bias, const Conv3dParams& params, const Exec& exec,
                                   int64_t pieces = 0, const OutputStatistics* statistics = nullptr);
void conv3d_backward_input_gemm_warpgroup(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                          const Conv3dParams& params, const Exec& exec, int64_t pieces = 0);

/// conv3d_backward_weight likewise where gemm_wgrad_applies(); the voxels are cut into `pieces`.
void conv3d_backward_weight_gemm(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                 const Conv3dParams& params, const Exec& exec, int64_t pieces = 0);

/// What it does with kernel 3 where a row has at most GemmPlaneWgradTile::widest voxels.
void conv3d_backward_weight_gemm_plane(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                       const Exec& exec, int64_t pieces = 0);

/// conv3d_forward and _backward_weight on tensor cores from 1 to 4 channels, where first_layer_applies();
/// statistics and order of sums as with halo tiles.
void conv3d_forward_first_layer(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                                const float* bias, int multiprocessors, const Exec& exec,
                                const OutputStatistics* statistics = nullptr);
/// `source` as with halo tiles; what is made of it is not stored.
void conv3d_backward_weight_first_layer(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                        int multiprocessors, const Exec& exec,
                                        const NormInputGradient* source = nullptr);

/// The three functions with kernel 1 between few channels and more, where pointwise_applies(): bound by
/// memory. A norm of x (if not null) is applied as x is read, where pointwise_norm_applies().
void conv3d_forward_pointwise(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                              const float* bias, const Exec& exec, const InputNorm* norm = nullptr);
void conv3d_backward_input_pointwise(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                     const Exec& exec);
void conv3d_backward_weight_pointwise(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                      const Exec& exec);

/// Whether the kernels with kernel 1 apply a norm: to few channels from more.
bool pointwise_norm_applies(const View<const bfloat16>& y, const View<const bfloat16>& x,
                            const InputNorm& norm);
/// conv3d_backward_through_norm in two passes over x and dy: the gradient of the norm's result is made anew
/// in each, never stored.
void conv3d_backward_through_norm_pointwise(View<bfloat16> dx, float* dweight, float* dbias,
                                            const NormGradients& gradients, View<const bfloat16> dy,
                                            View<const bfloat16> x, const InputNorm& norm,
                                            const float* weight, const Exec& exec);

/// conv3d_forward, _backward_input and _backward_weight on tensor cores with kernel 3, stride 2 and padding
/// 1, where strided_applies(), strided_transposed_applies() and strided_wgrad_applies(). The second adds a
/// bias (or null), for the transposed convolution. Statistics and a norm of x as with halo tiles, the norm
/// where strided_norm_applies() in the forward pass, for up to 128 channels, and strided_wgrad_norm_applies()
/// in the gradient of the weights, for multiples of 32 output channels.
bool strided_norm_applies(const InputNorm& norm, int64_t in_channels);
bool strided_wgrad_norm_applies(const InputNorm& norm, int64_t out_channels);
void conv3d_forward_strided(View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias,
                            int multiprocessors, const Exec& exec,
                            const OutputStatistics* statistics = nullptr, const InputNorm* norm = nullptr);
void conv3d_backward_input_strided(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                   const float* bias, int multiprocessors, const Exec& exec,
                                   const OutputStatistics* statistics = nullptr);

/// dx += instead of dx =.
void conv3d_add_backward_input_strided(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                       int multiprocessors, const Exec& exec);
void conv3d_backward_weight_strided(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                    int multiprocessors, const Exec& exec, const InputNorm* norm = nullptr);

/// conv_transpose3d_backward() in one pass where transposed_gradients_apply(). The order of all sums follows
/// from the cut: the same number of multiprocessors gives the same bits.
void conv_transpose3d_backward_strided(View<bfloat16> dx, float* dweight, const NormInputGradient& source,
                                       View<const bfloat16> x, const float* weight, int multiprocessors,
                                       const Exec& exec);

/// conv3d_backward() in one pass where strided_gradients_apply() and the voxels of source.dy and source.x lie
/// alike, see norm_gradient_places(). The order of all sums follows from the cut: the same number of
/// multiprocessors gives the same bits.
void conv3d_backward_strided(const InputGradient& of_x, float* dweight, const NormInputGradient& source,
                             View<const bfloat16> x, const InputNorm* norm, const float* weight,
                             int multiprocessors, const Exec& exec);

/// The same three as matrix products, for the deep levels: where strided_gemm_applies(),
/// strided_gemm_transposed_applies() and strided_gemm_wgrad_applies(). The sum over taps and channels, or for
/// the gradient of the weights over voxels, is cut into `pieces`, by default as many as fill a GPU; their
/// number fixes the order of sums. Statistics as with conv3d_forward_gemm().
void conv3d_forward_strided_gemm(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                                 const float* bias, const Exec& exec, int64_t pieces = 0,
                                 const OutputStatistics* statistics = nullptr);
void conv3d_backward_input_strided_gemm(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                        const float* bias, const Exec& exec,
                                        const OutputStatistics* statistics = nullptr);
void conv3d_add_backward_input_strided_gemm(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                            const Exec& exec);
void conv3d_backward_weight_strided_gemm(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                         const Exec& exec, int64_t pieces = 0);

/// The statistics of y in a pass of its own, for algorithms without sums at hand; nothing if null.
void compute_statistics(const OutputStatistics* statistics, View<const bfloat16> y, const Exec& exec);

/// conv3d_forward, _backward_input (plus a bias, or null, for the transposed convolution) and
/// _backward_weight of float activations on tensor cores in TF32, where tf32_applies(); any kernel size,
/// stride and padding, also those of the transposed convolution. The sums are cut into `pieces`, by default
/// as many as fill a GPU; their number fixes the order of sums.
void conv3d_forward_tf32(View<float> y, View<const float> x, const float* weight, const float* bias,
                         const Conv3dParams& params, const Exec& exec, int64_t pieces = 0);
void conv3d_backward_input_tf32(View<float> dx, View<const float> dy, const float* weight, const float* bias,
                                const Conv3dParams& params, const Exec& exec, int64_t pieces = 0);
void conv3d_backward_weight_tf32(float* dweight, View<const float> dy, View<const float> x,
                                 const Conv3dParams& params, const Exec& exec, int64_t pieces = 0);

}  // namespace vg::kernels::cuda
