// The second half of a norm's backward (norm3d_backward_input()), done to the gradient of a convolution's
// output in shared memory: each thread transforms the 16 bytes that it has copied itself before others read
// them, as conv3d_input_norm.cuh does in the forward pass. To the bits of the pass of its own.
#pragma once

#include "kernels/conv3d/conv3d_input_norm.cuh"

namespace vg::kernels::cuda {

/// What a kernel needs of a NormInputGradient. Its x, and where the result is stored, lie at the places of
/// its dy so many elements further on: see norm_gradient_places().
struct NormGradientSource {
  NormArguments norm;
  const float* means;  ///< null where the statistics are constants
  int64_t groups;      ///< means of xhat begin so many behind those of dv
  int64_t x_distance, store_distance;
  bool stored;
};

/// Whether the views' voxels lie alike, at multiples of 16 bytes, so that a kernel finds one from the other.
inline bool norm_gradient_places(const View<const bfloat16>& a, const View<const bfloat16>& b) {
  return a.stride_n == b.stride_n && a.stride_d == b.stride_d && a.stride_h == b.stride_h &&
         a.stride_w == b.stride_w && reinterpret_cast<uintptr_t>(a.data) % 16 == 0 &&
         reinterpret_cast<uintptr_t>(b.data) % 16 == 0;
}
inline int64_t elements_between(const bfloat16* from, const bfloat16* to) {
  return (reinterpret_cast<intptr_t>(to) - reinterpret_cast<intptr_t>(from)) /
         static_cast<int64_t>(sizeof(bfloat16));
}

/// `to`: where the result is stored, or a view without data.
inline NormGradientSource norm_gradient_source(const NormInputGradient& of, const View<bfloat16>& to) {
  const int64_t groups = of.norm.params.per_instance ? of.x.n : 1;
  return {norm_arguments(of.norm, of.x.c),
          of.norm.params.fixed_statistics ? nullptr : of.means,
          groups * of.x.c,
          elements_between(of.dy.data, of.x.data),
          to.data != nullptr ? elements_between(of.dy.data, to.data) : 0,
          to.data != nullptr};
}

/// The parameters of `Channels` channels in shared memory: for every 8 of them mean, scale, shift, mean(dv)
/// and mean(dv xhat) / deviation; chunks of 8 lie in different banks.
template <int Channels>
class NormGradientTable {
 public:
  static constexpr int chunk_floats = 44, floats = Channels / 8 * chunk_floats;

  /// Fills the table for channels from `first` on of a sample. For all threads; a barrier must follow.
  __device__ __forceinline__ NormGradientTable(float* shared, const NormGradientSource& source,
                                               int64_t sample, int64_t first)
      : shared_(ptx::shared_address(shared)),
        slope_(source.norm.slope != nullptr ? *source.norm.slope : source.norm.negative_slope),
        relu_(source.norm.relu) {
    for (int i = static_cast<int>(threadIdx.x); i < Channels; i += static_cast<int>(blockDim.x)) {
      const int64_t channel = first + i, of_sample = sample * source.norm.group_stride + channel;
      float* const to = shared + i / 8 * chunk_floats + i % 8;
      const float inverse = 1 / sqrtf(source.norm.variance[of_sample] + source.norm.eps);
      to[0] = source.norm.mean[of_sample];
      to[8] = source.norm.gamma != nullptr ? source.norm.gamma[channel] * inverse : inverse;
      to[16] = source.norm.beta != nullptr ? source.norm.beta[channel] : 0.0f;
      to[24] = source.means != nullptr ? source.means[of_sample] : 0.0f;
      to[32] = source.means != nullptr ? source.means[of_sample + source.groups] : 0.0f;
    }
  }

  /// Makes the 16 bytes at `gradient` in shared memory, channels 8 index and on, those of the norm's input,
  /// whose own are at `x`; they are also stored to `to` unless it is null.
  __device__ __forceinline__ void apply(int index, uint32_t gradient, uint32_t x, bfloat16* to) const {
    uint32_t words[4], of_x[4];
    ptx::load_shared_16(words, gradient);
    ptx::load_shared_16(of_x, x);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t from = shared_ + index * (chunk_floats * 4) + half * 16;
      uint32_t mean[4], scale[4], shift[4], offset[4], factor[4];
      ptx::load_shared_16(mean, from);
      ptx::load_shared_16(scale, from + 32);
      ptx::load_shared_16(shift, from + 64);
      ptx::load_shared_16(offset, from + 96);
      ptx::load_shared_16(factor, from + 128);
      float dx[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const uint32_t g_word = words[half * 2 + k / 2], x_word = of_x[half * 2 + k / 2];
        const float g = k % 2 == 0 ? ptx::low_bfloat16(g_word) : ptx::high_bfloat16(g_word),
                    centred = (k % 2 == 0 ? ptx::low_bfloat16(x_word) : ptx::high_bfloat16(x_word)) -
                              __uint_as_float(mean[k]),
                    v = fmaf(centred, __uint_as_float(scale[k]), __uint_as_float(shift[k])),
                    dv = v <= 0 ? (relu_ ? 0.0f : g * slope_) : g;
        dx[k] = __uint_as_float(scale[k]) *
                fmaf(-centred, __uint_as_float(factor[k]), dv - __uint_as_float(offset[k]));
      }
      words[half * 2] = ptx::pack_bfloat16(dx[0], dx[1]);
      words[half * 2 + 1] = ptx::pack_bfloat16(dx[2], dx[3]);
    }
    ptx::store_shared_16(gradient, words[0], words[1], words[2], words[3]);
    if (to != nullptr) ptx::store_global_16(to, words[0], words[1], words[2], words[3]);
  }

 private:
  uint32_t shared_;
  float slope_;
  bool relu_;
};

}  // namespace vg::kernels::cuda
