// What the tensor-core kernels with a halo tile share: which part of a problem a block computes, copies of
// planes to shared memory, and how a warp's sums start and leave.
#pragma once

#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_halo_tile.h"
#include "kernels/conv3d/conv3d_input_norm.cuh"
#include "kernels/conv3d/conv3d_moments.cuh"

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

/// This block's piece of the moments, see store_moments(), from its first channel on. From blockIdx alone, so
/// that nothing waits for it in registers.
__device__ inline float* halo_moments(float* moments, const HaloGrid& grid, int64_t channels,
                                      int block_channels) {
  return moments + (blockIdx.x / grid.groups * channels + blockIdx.x % grid.groups * block_channels) * 2;
}

/// Copies Rows rows of Columns voxels of Channels channels of one plane after another to shared memory, in
/// the order of halo_offset(); zeros where they lie outside of the view. A thread keeps its columns: a row
/// costs it an addition and a comparison.
template <int Threads, int Rows, int Columns, int Channels>
class PlaneCopy {
  static constexpr int chunks = Channels / 8, copies = Columns * chunks,
                       rows_at_once = Threads / copies > 1 ? Threads / copies : 1,
                       copies_a_row = rows_at_once > 1 ? 1 : (copies + Threads - 1) / Threads,
                       row_bytes = Columns * Channels * 2;

 public:
  /// From row h on; `column_of(i)` is where along W column i lies; `thread` is threadIdx.x. Channels from
  /// `first_beyond` on may lie so many elements further on, in another tensor.
  template <class ColumnOf>
  __device__ PlaneCopy(const View<const bfloat16>& in, int64_t n, int h, const ColumnOf& column_of,
                       int thread = static_cast<int>(threadIdx.x), int first_beyond = Channels,
                       int64_t beyond = 0)
      : stride_d_(in.stride_d), stride_h_(in.stride_h), depth_(static_cast<int>(in.d)) {
    row_ = rows_at_once > 1 ? thread / copies : 0;
    h_ = h + row_;
#pragma unroll
    for (int i = 0; i < copies_a_row; ++i) {
      const int copy = rows_at_once > 1 ? thread % copies : thread + i * Threads;
      const int column = copy / chunks, chunk = copy % chunks, w = column_of(column);
      active_[i] = row_ < rows_at_once && copy < copies;
      // No row lies inside of a view without height.
      height_[i] = w >= 0 && w < in.w ? static_cast<unsigned>(in.h) : 0;
      source_[i] = in.at(n, 0, h_, w) + chunk * 8 + (chunk * 8 >= first_beyond ? beyond : 0);
      target_[i] = static_cast<uint32_t>(halo_offset(Channels, Columns, row_, column, chunk));
    }
  }
  __device__ PlaneCopy(const View<const bfloat16>& in, int64_t n, int h, int w,
                       int thread = static_cast<int>(threadIdx.x), int first_beyond = Channels,
                       int64_t beyond = 0)
      : PlaneCopy(
            in, n, h, [w](int column) { return w + column; }, thread, first_beyond, beyond) {}

  /// Starts the copies of plane d, channels from `channel` on, to `plane` in shared memory. What lies at the
  /// same places of another view is so many elements further on.
  template <class Distance = int>
  __device__ __forceinline__ void operator()(uint32_t plane, int d, Distance channel = 0) const {
    part<1>(plane, d, channel, 0);
  }

  /// The same without zeros: for what for_each_copied() alone is to read.
  template <class Distance>
  __device__ __forceinline__ void only_inside(uint32_t plane, int d, Distance channel) const {
    part<1, false>(plane, d, channel, 0);
  }

  /// Starts the copies of plane d >= 0, and of what lies `distance` elements further on to `beside`, without
  /// zeros.
  __device__ __forceinline__ void pair(uint32_t plane, uint32_t beside, unsigned d, int64_t distance) const {
    part<1, true, true>(plane, d, 0, 0, beside - plane, distance);
  }

  /// Those of one of so many equal parts of it.
  template <int Parts, bool Zeros = true, bool Pair = false, class Plane, class Distance>
  __device__ __forceinline__ void part(uint32_t plane, Plane d, Distance channel, int index,
                                       uint32_t beside = 0, int64_t distance = 0) const {
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
        if (Parts * turns_a_part * rows_at_once > Rows && row_ + first + row >= Rows) continue;
        const bool inside = static_cast<unsigned>(h_ + first + row) < height;
        if (Zeros) {
          ptx::copy_16_async(target + row * row_bytes, source, inside);
        } else if (inside) {
          ptx::copy_16_async(target + row * row_bytes, source);
        }
        if (Pair && inside) ptx::copy_16_async(target + beside + row * row_bytes, source + distance);
      }
    }
  }

  /// Applies the norm to what this thread has copied of plane d by part<Parts>(), and nobody has read. Zeros
  /// beyond the view stay zero. The table may be of more channels: the plane's begin at its first_chunk-th 8.
  template <int Parts, int TableChannels>
  __device__ __forceinline__ void normalise(const NormTable<TableChannels>& norm, uint32_t plane, int d,
                                            int index, int first_chunk = 0) const {
    if (static_cast<unsigned>(d) >= static_cast<unsigned>(depth_) || !active_[0]) return;
    const int own = first_chunk + own_chunk();
    if (!norm.applies(own)) return;
    const auto chunk = norm.chunk(own);
    for_each_copied<Parts>(plane, d, index, [&](uint32_t address, const bfloat16*) { chunk.apply(address); });
  }

  /// Calls body(address in shared memory, where it has been copied from) for the 16 bytes, always of
  /// own_chunk(), that this thread has copied by part<Parts>() from within the view.
  template <int Parts, class Body>
  __device__ __forceinline__ void for_each_copied(uint32_t plane, int d, int index, const Body& body) const {
    for_each_place<Parts>(plane, d, index,
                          [&](uint32_t address, const bfloat16* from, int, int) { body(address, from); });
  }
  /// ... and which column of the plane and row of the part they are of.
  template <int Parts, class Body>
  __device__ __forceinline__ void for_each_place(uint32_t plane, int d, int index, const Body& body) const {
    static_assert(copies_a_row == 1 || Threads % chunks == 0, "a thread's copies are of the same channels");
    constexpr int turns = (Rows + rows_at_once - 1) / rows_at_once,
                  turns_a_part = (turns + Parts - 1) / Parts;
    if (static_cast<unsigned>(d) >= static_cast<unsigned>(depth_)) return;
    const int first = index * turns_a_part * rows_at_once;
#pragma unroll
    for (int i = 0; i < copies_a_row; ++i) {
      if (!active_[i]) continue;
      const uint32_t target = plane + target_[i];
#pragma unroll 1
      for (int turn = 0; turn < turns_a_part; ++turn) {
        const int row = first + turn * rows_at_once;
        if ((Parts * turns_a_part * rows_at_once <= Rows || row_ + row < Rows) &&
            static_cast<unsigned>(h_ + row) < height_[i])
          body(target + row * row_bytes, source_[i] + d * stride_d_ + row * stride_h_, own_column(i),
               row_ + turn * rows_at_once);
      }
    }
  }
  /// Whether this thread copies anything.
  __device__ __forceinline__ bool copies_any() const {
    return active_[0];
  }
  /// Rows of one of so many parts.
  template <int Parts>
  static constexpr int part_rows =
      ((Rows + rows_at_once - 1) / rows_at_once + Parts - 1) / Parts* rows_at_once;
  __device__ __forceinline__ int own_chunk() const {
    const int thread = static_cast<int>(threadIdx.x);
    return (rows_at_once > 1 ? thread % copies : thread) % chunks;
  }

 private:
  __device__ __forceinline__ int own_column(int i) const {
    const int thread = static_cast<int>(threadIdx.x);
    return (rows_at_once > 1 ? thread % copies : thread + i * Threads) / chunks;
  }

  int64_t stride_d_, stride_h_;
  int depth_, row_, h_;
  bool active_[copies_a_row];
  unsigned height_[copies_a_row];
  const bfloat16* source_[copies_a_row];
  uint32_t target_[copies_a_row];
};

/// The sums of a warp's 2 * Rows x 8 voxels of 8 * Fragments channels. Start them at the bias of the lane's 2
/// * Fragments channels, or at zero.
template <int Rows, int Fragments>
__device__ __forceinline__ void start_sums(float (&sums)[Rows][Fragments][4], const float* bias) {
#pragma unroll
  for (int j = 0; j < Fragments; ++j) {
    const float even = bias != nullptr ? bias[2 * j] : 0.0f, odd = bias != nullptr ? bias[2 * j + 1] : 0.0f;
#pragma unroll
    for (int row = 0; row < Rows; ++row) {
      sums[row][j][0] = sums[row][j][2] = even;
      sums[row][j][1] = sums[row][j][3] = odd;
    }
  }
}

/// Stores 4 or 8 neighbouring channels of a voxel, rounded.
template <int Fragments>
__device__ __forceinline__ void store_voxel(bfloat16* to, const float (&sums)[Fragments][4], int half) {
  uint32_t packed[Fragments];
#pragma unroll
  for (int j = 0; j < Fragments; ++j)
    packed[j] = ptx::pack_bfloat16(sums[j][2 * half], sums[j][2 * half + 1]);
  if constexpr (Fragments == 2) {
    ptx::store_global_8(to, packed[0], packed[1]);
  } else {
    static_assert(Fragments == 4);
    ptx::store_global_16(to, packed[0], packed[1], packed[2], packed[3]);
  }
}

/// In place of what an epilogue does with each voxel, where it does nothing.
struct NoVoxels {
  static constexpr bool sums = false;
  struct Row {
    __device__ __forceinline__ Row(const NoVoxels&, int64_t, int, int, int, int64_t) {}
    __device__ __forceinline__ void next() {}
    template <class... Arguments>
    __device__ __forceinline__ void operator()(const Arguments&...) const {}
  };
};
/// Adds the moments of what is stored.
struct VoxelMoments {
  static constexpr bool sums = true;
  struct Row {
    __device__ __forceinline__ Row(const VoxelMoments&, int64_t, int, int, int, int64_t) {}
    __device__ __forceinline__ void next() {}
    template <int Fragments>
    __device__ __forceinline__ void operator()(LaneMoments<2 * Fragments>& moments,
                                               const float (&sums_of_voxel)[Fragments][4], int half) const {
      moments.add_voxel(sums_of_voxel, half);
    }
  };
};
/// Adds what a norm needs of the gradient that is stored.
struct VoxelNormGradients {
  static constexpr bool sums = true;
  const View<const bfloat16>& x;
  NormParameters parameters;
  /// The voxel of one row after another.
  class Row {
   public:
    __device__ __forceinline__ Row(const VoxelNormGradients& of, int64_t n, int d, int h, int w,
                                   int64_t channel)
        : of_(of), x_(of.x.at(n, d, h, w) + channel) {}
    __device__ __forceinline__ void next() { x_ += of_.x.stride_h; }
    template <int Fragments>
    __device__ __forceinline__ void operator()(LaneMoments<2 * Fragments>& moments,
                                               const float (&sums_of_voxel)[Fragments][4], int half) const {
      add_norm_gradient(moments, sums_of_voxel, half, x_, of_.parameters);
    }

   private:
    const VoxelNormGradients& of_;
    const bfloat16* x_;
  };
};

/// Stores the lane's channels of the voxels (h + row, w) and, from the fragments' lower halves, (h + Rows +
/// row, w) that lie inside. Four lanes store a voxel's channels: whole sectors of 32 bytes. What `of_voxel`
/// sums of them is added to `totals`, see add_lanes(). A row costs an addition of its stride to each address
/// and a comparison.
template <int Rows, int Fragments, class OfVoxel>
__device__ __forceinline__ void store_tile(float (&totals)[Fragments / 2], const View<bfloat16>& out,
                                           const float (&sums)[Rows][Fragments][4], int64_t n, int d, int h,
                                           int w, int64_t channel, const OfVoxel& of_voxel) {
  LaneMoments<2 * Fragments> moments;
  if (w < out.w) {
    const int inside = static_cast<int>(out.h) - h;
    bfloat16* to = out.at(n, d, h, w) + channel;
    typename OfVoxel::Row of_row(of_voxel, n, d, h, w, channel);
#pragma unroll
    for (int row = 0; row < 2 * Rows; ++row, to += out.stride_h, of_row.next()) {
      if (row >= inside) continue;
      store_voxel(to, sums[row % Rows], row / Rows);
      of_row(moments, sums[row % Rows], row / Rows);
    }
  }
  if constexpr (OfVoxel::sums) add_lanes(totals, moments);
}

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
