// Preparation of a convolution's operands on the CPU. For *_cpu.cpp.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/simd.h"
#include "kernels/common/view.h"
#include "kernels/common/workspace.h"
#include "kernels/conv3d/conv3d_inference.h"

namespace vg::kernels::cpu::VG_ISA {

/// Input channels that are summed for all taps before the next ones: one cache line of a voxel.
inline constexpr int64_t channel_block = 16;

/// How a kernel sees weights in PyTorch's order: it produces `out` channels, in vectors, from `in` channels.
/// Tap t of (o, i) is data[o * out_stride + i * in_stride + t]. `flipped` reads the taps backwards: the
/// gradient of the input is a convolution with the other channels and flipped taps.
struct Weights {
  const float* data;
  int64_t out, in;
  int64_t out_stride, in_stride;
  int kernel_size;
  bool flipped;
  bool bfloat16 = false;          ///< packed as pairs of input channels, see conv3d_products_cpu.h
  const float* packed = nullptr;  ///< as the algorithm reads them, if somebody has packed them before

  VG_INLINE int64_t taps() const { return int64_t{kernel_size} * kernel_size * kernel_size; }
  VG_INLINE int64_t out_blocks() const { return (out + lanes - 1) / lanes; }
  /// Steps of a sum over input channels.
  VG_INLINE int64_t inputs() const { return bfloat16 ? (in + 1) / 2 : in; }
  /// Floats in the packed weights of a block of output channels.
  VG_INLINE int64_t block_floats() const { return inputs() * taps() * lanes; }
  VG_INLINE int64_t packed_floats() const { return out_blocks() * block_floats(); }
};

/// Weights (first, second, k, k, k) with the first or the second channels as those that are produced.
VG_INLINE Weights producing_first(const float* data, int64_t first, int64_t second, int kernel_size) {
  const int64_t taps = int64_t{kernel_size} * kernel_size * kernel_size;
  return {data, first, second, second * taps, taps, kernel_size, false};
}
VG_INLINE Weights producing_second(const float* data, int64_t first, int64_t second, int kernel_size,
                                   bool flipped) {
  const int64_t taps = int64_t{kernel_size} * kernel_size * kernel_size;
  return {data, second, first, taps, second * taps, kernel_size, flipped};
}

/// Floats of the vectors of a channel pair's taps: the largest kernel has 27, which come `lanes` at a time.
inline constexpr int64_t tap_floats = 32 * lanes;

/// All taps of one input channel for one block of output channels, in the order in which the kernel meets
/// them: taps[t * lanes + o]. Lanes beyond the last channel are zero.
void load_taps(float* taps, const Weights& weights, int64_t block, int64_t in);
/// Two channels' weights, `count` vectors each, rounded to bfloat16 into one of pairs; may be in place.
void pair_taps(float* pairs, const float* low, const float* high, int64_t count);

/// The way back for gradients: weights (outs, in, taps) += taps[t * lanes + o]. target is the first of `outs`
/// <= lanes rows, `out_stride` floats apart.
void add_taps(float* target, int64_t out_stride, int64_t outs, const float* taps, int64_t count);

/// Weights as the tiles read them, from start to end: [block of `lanes` out][block of `channel_block` in][kd]
/// [kh][in][kw][lanes]; lanes beyond the last channel are zero. Into packed[weights.packed_floats()].
void pack_weights(float* packed, const Weights& weights);
/// Those of one block, into packed[weights.block_floats()]; by the calling thread alone.
void pack_block(float* packed, const Weights& weights, int64_t block);
/// weights.packed, or else the weights packed into the scope's memory.
const float* packed_or_pack(const Weights& weights, WorkspaceScope& scope);

/// What is done to the sums of a convolution before they are stored.
struct Epilogue {
  const float* bias = nullptr;  ///< [out] or null
  OutputActivation activation = {};
};
/// The same with an element for each channel, and zeros up to a whole vector.
struct PackedEpilogue {
  const float *bias, *slope;  ///< slope: null if the activation needs none
  ActivationKind kind;
};
PackedEpilogue pack_epilogue(const Epilogue& epilogue, int64_t channels, WorkspaceScope& scope);

/// x rounded to bfloat16 with `padding` zeros around it, pairs of channels for floats, in the scope's memory.
View<const float> bfloat16_pairs(View<const float> x, int padding, WorkspaceScope& scope);

/// x itself if it promises `padding` zeros around it, else a copy that has them, in the scope's memory.
View<const float> with_halo(View<const float> x, int padding, WorkspaceScope& scope);

}  // namespace vg::kernels::cpu::VG_ISA
