// Sums of a convolution's outputs and of their squares, by channel, which a tensor-core kernel leaves for the
// norm behind it while it has its outputs in registers: a lane adds its own, the lanes that hold the same
// channels are added by shuffles, a block's warps through shared memory, always in the same order; each block
// stores one piece, and norm3d_moments_to_statistics() adds the pieces.
#pragma once

#include "kernels/common/launch.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_input_norm.cuh"
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
template <int Count, int Distance, int Last, int Size>
__device__ __forceinline__ void exchange_halves(float (&values)[Size]) {
  const bool upper = (threadIdx.x & Distance) != 0;
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    const float low = values[i], high = values[i + Count];
    values[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, Distance);
  }
  if constexpr (Distance > Last) exchange_halves<Count / 2, Distance / 2, Last>(values);
}

/// Adds the sums of the lanes of a warp with the same lane % Lanes, which hold the same channels of different
/// voxels (Lanes = 4: those of a row of a fragment), to `totals`: the lane's share of the result, numbers
/// (lane % Lanes * (32 / Lanes) + lane / Lanes) * Share and the following of the warp's [Lanes *
/// Channels][2]. 14 shuffles for 8 channels and Lanes = 4.
template <int Lanes = 4, int Channels, int Share>
__device__ __forceinline__ void add_lanes(float (&totals)[Share], LaneMoments<Channels>& moments) {
  static_assert(32 * Share == Lanes * Channels * 2);
  exchange_halves<Channels, 16, Lanes>(moments.sums);
#pragma unroll
  for (int i = 0; i < Share; ++i) totals[i] += moments.sums[i];
}

/// Adds the totals of the block's warps in order and stores the block's piece, `piece` pointing to its first
/// channel, of which `channels` exist. Warp w holds the (w % WarpsC)-th of WarpsC equal parts of the block's
/// channels; `Lanes` as in add_lanes(). `shared`: 32 * Warps * Share floats. For all threads of the block, as
/// soon as they need nothing of `shared` any more.
template <int Warps, int WarpsC, int Lanes = 4, int Share>
__device__ __forceinline__ void store_moments(float* piece, float* shared, const float (&totals)[Share],
                                              int64_t channels) {
  constexpr int of_warp = 32 * Share;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Share; ++i)
    shared[thread / 32 * of_warp + (lane % Lanes * (32 / Lanes) + lane / Lanes) * Share + i] = totals[i];
  __syncthreads();
  for (int i = thread; i < WarpsC * of_warp && i < 2 * channels; i += Warps * 32) {
    float sum = 0;
#pragma unroll
    for (int turn = 0; turn < Warps / WarpsC; ++turn) sum += shared[turn * WarpsC * of_warp + i];
    piece[i] = sum;
  }
}

/// What a kernel that makes the gradient of a norm's result does for the norm behind it on the tape, see
/// NormGradientSums: here x is the norm's input, with the voxels of the kernel's output.
struct NormGradientArguments {
  View<const bfloat16> x;
  NormArguments norm;
};

/// Adds what the norm needs of a voxel's gradient to `moments`: dv and dv (x - mean) in the place of values
/// and squares. Of fragments of sums that lie beside each other; `x` are the lane's channels of the norm's
/// input, `parameters` theirs, see NormParameters.
template <int Fragments, class Parameters>
__device__ __forceinline__ void add_norm_gradient(LaneMoments<2 * Fragments>& moments,
                                                  const float (&sums)[Fragments][4], int half,
                                                  const uint32_t (&x)[Fragments],
                                                  const Parameters& parameters) {
#pragma unroll
  for (int c = 0; c < 2 * Fragments; ++c) {
    const float centred = (c % 2 == 0 ? ptx::low_bfloat16(x[c / 2]) : ptx::high_bfloat16(x[c / 2])) -
                          parameters.mean(c),
                v = fmaf(centred, parameters.scale(c), parameters.shift(c)),
                dv = parameters.gradient(sums[c / 2][2 * half + c % 2], v);
    moments.sums[2 * c] += dv;
    moments.sums[2 * c + 1] = fmaf(dv, centred, moments.sums[2 * c + 1]);
  }
}

/// The same of x in memory.
template <int Fragments>
__device__ __forceinline__ void add_norm_gradient(LaneMoments<2 * Fragments>& moments,
                                                  const float (&sums)[Fragments][4], int half,
                                                  const bfloat16* x, const NormParameters& parameters) {
  uint32_t words[Fragments];
  if constexpr (Fragments == 2) {
    ptx::load_constant_8(words, x);
  } else {
    static_assert(Fragments == 4);
    ptx::load_constant_16(words, x);
  }
  add_norm_gradient(moments, sums, half, words, parameters);
}

/// Scratch memory for the pieces of `channels` channels.
inline float* allocate_moments(WorkspaceScope& scope, int64_t pieces, int64_t channels) {
  return scope.allocate<float>(static_cast<size_t>(pieces * channels * 2));
}

/// The norm's gradients from all pieces, those of a sample behind each other.
inline void finish_norm_gradient(const NormGradientRequest& request, const float* moments, int64_t pieces,
                                 const Exec& exec) {
  const View<const bfloat16>& x = request.x;
  const int64_t groups = request.norm.params.per_instance ? x.n : 1;
  norm3d_add_gradients(request.means, request.gradients,
                       {moments, 2, groups, pieces / groups, x.c, x.voxels() / groups}, request.norm, exec);
}

/// The statistics of y from all pieces, those of a sample behind each other.
inline void finish_statistics(const OutputStatistics& statistics, const float* moments, int64_t pieces,
                              const View<bfloat16>& y, const Exec& exec) {
  const int64_t groups = statistics.per_instance ? y.n : 1;
  norm3d_moments_to_statistics(statistics.mean, statistics.variance, moments, groups, pieces / groups, y.c,
                               y.voxels() / groups, exec);
}

}  // namespace vg::kernels::cuda
