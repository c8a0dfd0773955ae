// What the tensor-core kernels with a halo tile share: which part of a problem a block computes, and copies
// of planes to shared memory.
#pragma once

#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/conv3d/conv3d_halo_tile.h"

namespace vg::kernels::cuda {

/// What a block computes.
struct HaloPosition {
  int64_t group, n;
  int w, h, d, march;  ///< first voxel; planes
};

/// Of this block in a grid of tiles of height x width voxels; `depth` is the extent along D.
__device__ inline HaloPosition halo_position(const HaloGrid& grid, int height, int width, int64_t depth) {
  int64_t rest = blockIdx.x;
  // Groups first: blocks that share their input run at the same time and find it in the second-level cache.
  const int64_t group = rest % grid.groups;
  rest /= grid.groups;
  const int w = static_cast<int>(rest % grid.tiles_w) * width;
  rest /= grid.tiles_w;
  const int h = static_cast<int>(rest % grid.tiles_h) * height;
  rest /= grid.tiles_h;
  const int64_t d = rest % grid.segments * grid.march;
  return {group, rest / grid.segments, w,
          h,     static_cast<int>(d),  static_cast<int>(min(grid.march, depth - d))};
}

/// Starts the copies of rows x columns voxels of plane d of sample n, from voxel (h, w) on, to `plane` in
/// shared memory, in the order of halo_offset(); zeros where they lie outside of the view. A warp takes whole
/// rows, neighbouring lanes take neighbouring 16 bytes.
template <int Threads, int Channels, int Rows, int Columns>
__device__ __forceinline__ void copy_plane(uint32_t plane, const View<const bfloat16>& in, int64_t n, int d,
                                           int h, int w) {
  constexpr int chunks = Channels / 8, copies = Columns * chunks;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int row = warp; row < Rows; row += Threads / 32) {
    const int in_h = h + row;
    const bool row_inside = d >= 0 && d < in.d && in_h >= 0 && in_h < in.h;
    const bfloat16* const source = row_inside ? in.at(n, d, in_h) : in.data;
#pragma unroll
    for (int first = 0; first < copies; first += 32) {
      const int column = (first + lane) / chunks, chunk = (first + lane) % chunks, in_w = w + column;
      const bool inside = row_inside && in_w >= 0 && in_w < in.w;
      if (first + lane < copies)
        ptx::copy_16_async(plane + halo_offset(Channels, Columns, row, column, chunk),
                           inside ? source + in_w * in.stride_w + chunk * 8 : in.data, inside);
    }
  }
}

}  // namespace vg::kernels::cuda
