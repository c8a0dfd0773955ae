// How memory-bound kernels cut activations among threads. A thread keeps to a few neighbouring channels (one
// access of 16 bytes, see lanes.cuh) and takes every so many voxels of them, so that it loads what belongs to
// the channels once; neighbouring threads take neighbouring channels, then neighbouring voxels, so that the
// accesses of a warp are one run of memory.
#pragma once

#include "kernels/common/divider.h"
#include "kernels/common/lanes.cuh"

namespace vg::kernels::cuda {

/// The cut of `groups` runs of `voxels` voxels of `channels` channels each. Depends on the problem alone.
struct ShareGrid {
  int64_t voxels, channels, span;  ///< span: voxels of a block
  unsigned groups, tiles, pieces;  ///< blocks: tiles of channels, pieces of a group's voxels
  int columns, rows;               ///< threads of a block side by side along channels; voxels at once

  unsigned blocks() const { return groups * tiles * pieces; }
};

/// Each thread takes `Width` channels and at most `most_voxels` voxels: fewer (down to `least_voxels`) where
/// the problem would not give every multiprocessor of a large GPU (132 with eight blocks of 256 threads)
/// something to do, twice over.
inline ShareGrid share_grid(int64_t groups, int64_t voxels, int64_t channels, int width, int64_t least_voxels,
                            int64_t most_voxels) {
  const int64_t chunks = channels / width, tiles = (chunks + block_threads - 1) / block_threads;
  ShareGrid grid{};
  grid.voxels = voxels, grid.channels = channels;
  grid.columns = static_cast<int>((chunks + tiles - 1) / tiles);
  grid.rows = block_threads / grid.columns;
  const int64_t wanted = groups * voxels * tiles / (int64_t{grid.rows} * 2048);
  grid.span = std::clamp(wanted, least_voxels, most_voxels) * grid.rows;
  grid.groups = static_cast<unsigned>(groups);
  grid.tiles = static_cast<unsigned>(tiles);
  grid.pieces = static_cast<unsigned>((voxels + grid.span - 1) / grid.span);
  return grid;
}

/// What this thread takes: channels from `channel` on, and the voxels first, first + step, ... < limit,
/// counted through all groups. None where first >= limit.
struct Share {
  int64_t first, limit, channel;
  int step, column, row;
  unsigned group, piece;
};
template <int Width>
__device__ __forceinline__ Share share_of_thread(const ShareGrid& grid) {
  const int thread = static_cast<int>(threadIdx.x);
  Share s;
  s.piece = blockIdx.x % grid.pieces;
  const unsigned rest = blockIdx.x / grid.pieces;
  s.group = rest / grid.tiles;
  s.row = thread / grid.columns, s.column = thread % grid.columns;
  s.channel = (int64_t{rest % grid.tiles} * grid.columns + s.column) * Width;
  const int64_t begin = s.piece * grid.span, before = s.group * grid.voxels;
  s.first = before + begin + s.row, s.step = grid.rows;
  s.limit = before + min(grid.voxels, begin + grid.span);
  if (s.row >= grid.rows || s.channel >= grid.channels) s.first = s.limit;
  return s;
}

/// Where a voxel lies in views with the same voxels.
struct VoxelPlace {
  int64_t n, d, h, w;

  template <class T>
  __device__ __forceinline__ T* in(const View<T>& view) const {
    return view.at(n, d, h, w);
  }
};

/// The same where all voxels are one row.
struct PlaceInRow {
  int64_t w;

  template <class T>
  __device__ __forceinline__ T* in(const View<T>& view) const {
    return view.data + w * view.stride_w;
  }
};

/// From the index of a voxel in [N,D,H,W] order to its place.
class VoxelIndex {
 public:
  /// For views with the same voxels. If their voxels are evenly spaced (all but such with a halo or cropped
  /// ones), the whole volume is taken for one row.
  template <class T, class... U>
  explicit VoxelIndex(const View<T>& view, const View<U>&... views)
      : one_row_(evenly_spaced(view) && (evenly_spaced(views) && ...)), w_(view.w), h_(view.h), d_(view.d) {}

  __device__ __forceinline__ VoxelPlace operator()(int64_t voxel) const {
    return one_row_ ? VoxelPlace{0, 0, 0, voxel} : coordinates(voxel);
  }
  /// Calls body(place, voxel) for the voxels of a share; body is a generic lambda. `Unroll` calls of it may
  /// be in flight at once where the volume is one row: there the compiler only steps a pointer.
  template <int Unroll = 1, class Body>
  __device__ __forceinline__ void for_each(const Share& share, const Body& body) const {
    if (one_row_) {
#pragma unroll Unroll
      for (int64_t i = share.first; i < share.limit; i += share.step) body(PlaceInRow{i}, i);
    } else {
#pragma unroll 1
      for (int64_t i = share.first; i < share.limit; i += share.step) body(coordinates(i), i);
    }
  }
  __device__ __forceinline__ VoxelPlace coordinates(int64_t voxel) const {
    VoxelPlace place{0, 0, 0, voxel};
    place.h = w_.split(place.w);
    place.d = h_.split(place.h);
    place.n = d_.split(place.d);
    return place;
  }

 private:
  template <class T>
  static bool evenly_spaced(const View<T>& v) {
    return (v.h == 1 || v.stride_h == v.w * v.stride_w) &&
           (v.d == 1 || v.stride_d == v.h * v.w * v.stride_w) &&
           (v.n == 1 || v.stride_n == v.d * v.h * v.w * v.stride_w);
  }

  bool one_row_;
  Divider w_, h_, d_;
};

template <int Width, int Blocks, class Body>
__global__ void __launch_bounds__(block_threads, Blocks) for_each_share_kernel(Body body, ShareGrid grid) {
  const Share share = share_of_thread<Width>(grid);
  if (share.first < share.limit) body(share);
}

/// Voxels a thread takes where each is written: enough to pay for what is loaded once.
inline constexpr int64_t most_voxels_written = 16;

/// Calls body(Share) in every thread whose share of groups x voxels of `channels` channels is not empty. With
/// `Blocks` blocks a multiprocessor the body may use 65536 / (256 Blocks) registers: 64, or 80 with three.
/// Asked for, since left alone the compiler spills a few to save a few.
template <int Width, int Blocks = 4, class Body>
void for_each_share(int64_t groups, int64_t voxels, int64_t channels, const Body& body, const Exec& exec) {
  if (groups * voxels * channels == 0) return;
  const ShareGrid grid = share_grid(groups, voxels, channels, Width, 1, most_voxels_written);
  for_each_share_kernel<Width, Blocks><<<grid.blocks(), block_threads, 0, stream_of(exec)>>>(body, grid);
  check_launch();
}

/// Calls run(std::integral_constant<int, Width>) with the widest access that all views take: lanes_of their
/// types, or 1.
template <class Run, class... T>
void with_lanes(const Run& run, const View<T>&... views) {
  constexpr int width = lanes_of<T...>;
  if ((takes_lanes<width>(views) && ...)) return run(std::integral_constant<int, width>{});
  run(std::integral_constant<int, 1>{});
}

}  // namespace vg::kernels::cuda
