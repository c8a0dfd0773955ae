// Sums of a convolution's outputs and of their squares, by channel, which a tensor-core kernel leaves for the
// norm behind it while it has its outputs in registers: a lane adds its own, the lanes that hold the same
// channels are added by shuffles, a block's warps through shared memory, always in the same order; each block
// stores one piece, and norm3d_moments_to_statistics() adds the pieces.
#pragma once

#include "kernels/common/launch.cuh"
#include "kernels/norm3d/norm3d.h"

namespace vg::kernels::cuda {

/// The sums of a lane that holds `Channels` neighbouring channels of some voxels: sum, sum of squares of
/// each.
template <int Channels>
struct LaneMoments {
  float sums[2 * Channels] = {};

  __device__ __forceinline__ void add(int channel, float value) {
    sums[2 * channel] += value;
    sums[2 * channel + 1] += value * value;
  }

  /// The upper or lower row (`half`) of fragments of sums that lie beside each other.
  template <int Fragments>
  __device__ __forceinline__ void add_voxel(const float (&fragments)[Fragments][4], int half) {
    static_assert(2 * Fragments == Channels);
#pragma unroll
    for (int j = 0; j < Fragments; ++j) {
      add(2 * j, fragments[j][2 * half]);
      add(2 * j + 1, fragments[j][2 * half + 1]);
    }
  }
};

/// One step of add_lanes(): of 2 * Count values, a lane gives half to its partner and adds what it gets to
/// the other half; then the next step.
template <int Count, int Distance, int Size>
__device__ __forceinline__ void exchange_halves(float (&values)[Size]) {
  const bool upper = (threadIdx.x & Distance) != 0;
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    const float low = values[i], high = values[i + Count];
    values[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, Distance);
  }
  if constexpr (Distance > 4) exchange_halves<Count / 2, Distance / 2>(values);
}

/// Adds the sums of the eight lanes of a warp with the same lane % 4, which hold the same channels of
/// different voxels (rows of a fragment), to `totals`: the lane's share of the result, numbers
/// (lane % 4 * 8 + lane / 4) * Channels / 4 and the following of the warp's [4 * Channels][2]. 7 * Channels /
/// 4 shuffles.
template <int Channels>
__device__ __forceinline__ void add_lanes(float (&totals)[Channels / 4], LaneMoments<Channels>& moments) {
  static_assert(Channels % 4 == 0);
  exchange_halves<Channels, 16>(moments.sums);
#pragma unroll
  for (int i = 0; i < Channels / 4; ++i) totals[i] += moments.sums[i];
}

/// Floats of shared memory that store_moments() needs.
constexpr int moments_shared_floats(int warps, int lane_channels) {
  return warps * 8 * lane_channels;
}

/// Adds the totals of the block's warps in order and stores the block's piece, `piece` pointing to its first
/// channel. Warp w holds channels (w % WarpsC) * 16 * Share and the following; WarpsC of them the block's
/// channels. For all threads of the block, which need nothing of `shared` any more.
template <int Warps, int WarpsC, int Share>
__device__ __forceinline__ void store_moments(float* piece, float* shared, const float (&totals)[Share]) {
  constexpr int of_warp = 32 * Share;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Share; ++i)
    shared[thread / 32 * of_warp + (lane % 4 * 8 + lane / 4) * Share + i] = totals[i];
  __syncthreads();
  for (int i = thread; i < WarpsC * of_warp; i += Warps * 32) {
    float sum = 0;
#pragma unroll
    for (int turn = 0; turn < Warps / WarpsC; ++turn) sum += shared[turn * WarpsC * of_warp + i];
    piece[i] = sum;
  }
}

/// Scratch memory for the pieces of `channels` channels.
inline float* allocate_moments(WorkspaceScope& scope, int64_t pieces, int64_t channels) {
  return scope.allocate<float>(static_cast<size_t>(pieces * channels * 2));
}

/// The statistics of y from all pieces, those of a sample behind each other.
inline void finish_statistics(const OutputStatistics& statistics, const float* moments, int64_t pieces,
                              const View<bfloat16>& y, const Exec& exec) {
  const int64_t groups = statistics.per_instance ? y.n : 1;
  norm3d_moments_to_statistics(statistics.mean, statistics.variance, moments, groups, pieces / groups, y.c,
                               y.voxels() / groups, exec);
}

}  // namespace vg::kernels::cuda
