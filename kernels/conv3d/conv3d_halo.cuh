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

/// Copies Rows rows of Columns voxels of Channels channels of one plane after another to shared memory, in
/// the order of halo_offset(); zeros where they lie outside of the view. A thread keeps its columns: a row
/// costs it an addition and a comparison.
template <int Threads, int Rows, int Columns, int Channels>
class PlaneCopy {
 public:
  /// From row h on; `column_of(i)` is where along W column i lies.
  template <class ColumnOf>
  __device__ PlaneCopy(const View<const bfloat16>& in, int64_t n, int h, const ColumnOf& column_of)
      : stride_d_(in.stride_d), stride_h_(in.stride_h), depth_(static_cast<int>(in.d)) {
    const int thread = static_cast<int>(threadIdx.x);
    row_ = rows_at_once > 1 ? thread / copies : 0;
    h_ = h + row_;
#pragma unroll
    for (int i = 0; i < copies_a_row; ++i) {
      const int copy = rows_at_once > 1 ? thread % copies : thread + i * Threads;
      const int column = copy / chunks, chunk = copy % chunks, w = column_of(column);
      active_[i] = row_ < rows_at_once && copy < copies;
      // No row lies inside of a view without height.
      height_[i] = w >= 0 && w < in.w ? static_cast<unsigned>(in.h) : 0;
      source_[i] = in.at(n, 0, h_, w) + chunk * 8;
      target_[i] = static_cast<uint32_t>(halo_offset(Channels, Columns, row_, column, chunk));
    }
  }
  __device__ PlaneCopy(const View<const bfloat16>& in, int64_t n, int h, int w)
      : PlaneCopy(in, n, h, [w](int column) { return w + column; }) {}

  /// Starts the copies of plane d, channels from `channel` on, to `plane` in shared memory.
  __device__ __forceinline__ void operator()(uint32_t plane, int d, int channel = 0) const {
    part<1>(plane, d, channel, 0);
  }

  /// Those of one of so many equal parts of it.
  template <int Parts>
  __device__ __forceinline__ void part(uint32_t plane, int d, int channel, int index) const {
    constexpr int turns = (Rows + rows_at_once - 1) / rows_at_once,
                  turns_a_part = (turns + Parts - 1) / Parts;
    const bool plane_inside = static_cast<unsigned>(d) < static_cast<unsigned>(depth_);
    const int first = index * turns_a_part * rows_at_once;
#pragma unroll
    for (int i = 0; i < copies_a_row; ++i) {
      if (!active_[i]) continue;
      const bfloat16* source = source_[i] + d * stride_d_ + first * stride_h_ + channel;
      const uint32_t target = plane + target_[i] + first * row_bytes;
      const unsigned height = plane_inside ? height_[i] : 0;
#pragma unroll
      for (int turn = 0; turn < turns_a_part; ++turn, source += rows_at_once * stride_h_) {
        const int row = turn * rows_at_once;
        if (Parts * turns_a_part * rows_at_once <= Rows || row_ + first + row < Rows)
          ptx::copy_16_async(target + row * row_bytes, source,
                             static_cast<unsigned>(h_ + first + row) < height);
      }
    }
  }

 private:
  static constexpr int chunks = Channels / 8, copies = Columns * chunks,
                       rows_at_once = Threads / copies > 1 ? Threads / copies : 1,
                       copies_a_row = rows_at_once > 1 ? 1 : (copies + Threads - 1) / Threads,
                       row_bytes = Columns * Channels * 2;

  int64_t stride_d_, stride_h_;
  int depth_, row_, h_;
  bool active_[copies_a_row];
  unsigned height_[copies_a_row];
  const bfloat16* source_[copies_a_row];
  uint32_t target_[copies_a_row];
};

/// Starts the copy of Bytes of packed weights.
template <int Threads, int Bytes>
__device__ __forceinline__ void copy_weights(uint32_t shared, const uint32_t* packed) {
  constexpr int chunks = Bytes / 16;
#pragma unroll
  for (int first = 0; first < chunks; first += Threads) {
    const int i = first + static_cast<int>(threadIdx.x);
    if (first + Threads <= chunks || i < chunks) ptx::copy_16_async(shared + i * 16, packed + i * 4, true);
  }
}

}  // namespace vg::kernels::cuda
