// What the tensor-core kernels for stride 2 share: copies of planes to shared memory and the order of
// weights.
#pragma once

#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/conv3d/conv3d_halo.cuh"
#include "kernels/conv3d/conv3d_strided_tile.h"

namespace vg::kernels::cuda {

/// Copies Rows rows of Entries voxels of Channels channels of one plane after another to shared memory, in
/// the order of halo_offset(); zeros where they lie outside of the view. A thread keeps its column: a row
/// costs it an addition and a comparison.
template <int Threads, int Rows, int Entries, int Channels>
class PlaneCopy {
 public:
  /// From row h on; `column(entry)` is where along W an entry of a row lies.
  template <class Column>
  __device__ PlaneCopy(const View<const bfloat16>& in, int64_t n, int h, const Column& column)
      : data_(in.data), depth_(in.d), stride_d_(in.stride_d), stride_h_(in.stride_h * rows_at_once) {
    const int thread = static_cast<int>(threadIdx.x), chunk = thread % lanes % chunks;
    const int entry = thread % lanes / chunks, w = column(entry);
    row_ = thread / lanes;
    const bool inside = row_ < rows_at_once && w >= 0 && w < in.w;
    height_ = inside ? static_cast<int>(in.h) : 0;
    h_ = h + row_;
    source_ = in.at(n, 0, h_, w) + chunk * 8;
    target_ = static_cast<uint32_t>(halo_offset(Channels, Entries, row_, entry, chunk));
  }

  /// Plane d, channels from `channel` on, to `plane` in shared memory.
  __device__ __forceinline__ void operator()(uint32_t plane, int d, int channel) const {
    if (row_ >= rows_at_once) return;
    const bool plane_inside = d >= 0 && d < depth_;
    const bfloat16* source = source_ + d * stride_d_ + channel;
#pragma unroll
    for (int row = 0; row < Rows; row += rows_at_once, source += stride_h_) {
      const bool inside = plane_inside && h_ + row >= 0 && h_ + row < height_;
      if (row + rows_at_once <= Rows || row_ + row < Rows)
        ptx::copy_16_async(plane + target_ + row * row_bytes, inside ? source : data_, inside);
    }
  }

 private:
  static constexpr int chunks = Channels / 8, lanes = Entries * chunks, rows_at_once = Threads / lanes,
                       row_bytes = Entries * Channels * 2;

  const bfloat16 *data_, *source_;
  int64_t depth_, stride_d_, stride_h_;
  int h_, height_, row_;
  uint32_t target_;
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
/// neighbouring channels. Groups of `group_channels`, warps of 8 * `fragments` channels.
uint32_t* pack_strided_weights(const StridedWeights& weights, int64_t out_channels, int64_t reduced_channels,
                               int group_channels, int fragments, WorkspaceScope& scope, const Exec& exec);

}  // namespace vg::kernels::cuda
