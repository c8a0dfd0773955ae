// What the kernels for few input channels share: the input as they read it, and the grid.
#pragma once

#include "kernels/conv3d/conv3d_first_tile.h"
#include "kernels/conv3d/conv3d_halo.cuh"

namespace vg::kernels::cuda {

/// The input as chunks: "voxels" of 8 channels, two voxels of 4, at multiples of 16 bytes. x itself where it
/// is so, else a copy in scratch memory with zeros for missing channels and behind odd rows.
View<const bfloat16> first_layer_input(const View<const bfloat16>& x, WorkspaceScope& scope,
                                       const Exec& exec);

/// Copies of planes of chunks; chunk `first_layer_chunk(w)` comes first for a tile at voxel w.
template <int Threads, int Rows>
using FirstCopy = PlaneCopy<Threads, Rows, FirstTile::row_chunks, 8>;
__device__ inline int first_layer_chunk(int w) {
  return w / 2 - 2;
}

/// The blocks that cover `out`: pairs of outputs begin at voxel -1.
inline HaloGrid first_layer_grid(int height, const View<const bfloat16>& out, int multiprocessors) {
  View<const bfloat16> covered = out;
  ++covered.w;
  return halo_grid(height, FirstTile::width, out.c / FirstTile::out_channels, covered, multiprocessors);
}

}  // namespace vg::kernels::cuda
