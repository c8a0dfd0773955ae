// What the tensor-core kernels for stride 2 share: the order of weights.
#pragma once

#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/conv3d/conv3d_halo.cuh"
#include "kernels/conv3d/conv3d_strided_tile.h"

namespace vg::kernels::cuda {

/// The norm's table in shared memory is of so many input channels.
inline constexpr int strided_norm_channels = 128;

/// Where the weight from reduced channel r to output channel o lies: at o * output_stride + r *
/// reduced_stride + tap.
struct StridedWeights {
  const float* data;
  int64_t output_stride, reduced_stride;
};

/// Packs weights in fragment order, to bfloat16:
/// packed[group of output channels][step of 16 reduced channels][27 taps][pair of fragments][lane][4], two
/// bfloat16 each: b0, b1 of a fragment of 8 output channels, b0, b1 of the next one, so that a lane takes
/// what it needs with one load of 16 bytes. Column n of fragment j of a warp is its output channel (n / 2) *
/// 2 * fragments + 2 j + n % 2: then a lane, which holds columns 2 q and 2 q + 1 of every fragment, holds
/// neighbouring channels. Groups of `group_channels`, the last one filled up
/// with zeros, warps of 8 * `fragments` channels.
uint32_t* pack_strided_weights(const StridedWeights& weights, int64_t out_channels, int64_t reduced_channels,
                               int group_channels, int fragments, WorkspaceScope& scope, const Exec& exec);

}  // namespace vg::kernels::cuda
