// What the matrix products for gradients of weights share.
#pragma once

#include <cstdint>

namespace vg::kernels::cuda {

/// Stores a warp's sums of one tap, 16 input by 8 * Fragments output channels from these on, to
/// partial[output channel][input channel]: the eight lanes of a column write neighbouring input channels, a
/// sector.
template <int Fragments>
__device__ __forceinline__ void store_wgrad_sums(float* partial, int64_t in_channels, int64_t out_channels,
                                                 int64_t in_first, int64_t out_first,
                                                 const float (&sums)[Fragments][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4;
  if (in_first >= in_channels) return;
#pragma unroll
  for (int j = 0; j < Fragments; ++j) {
    if (out_first + j * 8 >= out_channels) break;
#pragma unroll
    for (int e = 0; e < 4; ++e)
      partial[(out_first + j * 8 + 2 * q + e % 2) * in_channels + in_first + g + e / 2 * 8] = sums[j][e];
  }
}

}  // namespace vg::kernels::cuda
