// Winograd convolutions on the CPU: kernel 3, stride 1, padding 1. For *_cpu.cpp.
//
// F(MD, 3) along D times F(MH, 3) along H; along W the direct method's tiles slide over each frequency. So
// the layout of activations stays, transforms are vector code over channels, and a product is as fast as a
// direct convolution with a 1x1x3 kernel.
#pragma once

#include "kernels/conv3d/conv3d_pack_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

/// Output voxels of a tile along D and H; zeros if no tile fits.
struct WinogradTile {
  int d, h;
  VG_INLINE int64_t frequencies() const { return int64_t{d + 2} * (h + 2); }
  VG_INLINE bool exists() const { return d != 0; }
};

/// The largest tile that divides the extents: the more outputs a tile has, the fewer products an output takes
/// (27, or 12, 9, 6.75 with 2x2, 2x4, 4x4). Odd extents have none.
VG_INLINE WinogradTile winograd_tile(int64_t d, int64_t h) {
  if (d % 4 == 0 && h % 4 == 0) return {4, 4};
  if (d % 2 == 0 && h % 4 == 0) return {2, 4};
  if (d % 2 == 0 && h % 2 == 0) return {2, 2};
  return {0, 0};
}

/// As correlate() with stride 1 and padding 1. The extents have a tile, x has a halo, channels are multiples
/// of 16 on both sides.
void correlate_winograd(View<float> y, View<const float> x, const Weights& weights, const Epilogue& epilogue,
                        const Exec& exec);

/// Weights of all frequencies, [frequency][block of out][in][kw][lanes], for outputs of a tile; their number,
/// and into filters[that number]. What `packed` of Weights stands for here.
int64_t winograd_filter_floats(const Weights& weights, const WinogradTile& tile);
void winograd_filters(float* filters, const Weights& weights, const WinogradTile& tile);

/// As correlation_gradient() for a kernel of 3 with stride 1 and padding 1, under the same conditions.
void correlation_gradient_winograd(float* dweight, View<const float> dy, View<const float> x,
                                   const Exec& exec);

}  // namespace vg::kernels::cpu::VG_ISA
