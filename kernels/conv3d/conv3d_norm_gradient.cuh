// The second half of a norm's backward (norm3d_backward_input()), done to the gradient of a convolution's
// output in shared memory: each thread transforms the 16 bytes that it has copied itself before others read
// them, as conv3d_input_norm.cuh does in the forward pass. To the bits of the pass of its own.
#pragma once

#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d_input_norm.cuh"
#include "kernels/conv3d/conv3d_narrow_gradient.h"

namespace vg::kernels::cuda {

/// What a kernel needs of a NormInputGradient or a NarrowGradient. Its x, and where the result is stored, lie
/// at the places of its dy so many elements further on: see norm_gradient_places().
struct NormGradientSource {
  NormArguments norm;
  const float* means;  ///< null where the statistics are constants
  int64_t groups;      ///< means of xhat begin so many behind those of dv
  int64_t x_distance, store_distance;
  bool stored;
  /// Of a narrow gradient of narrow_channels: x takes the place of dy then.
  const bfloat16 *narrow, *x;
  const float* weight;
};

/// Channels of a narrow gradient that kernels take, with `wide_channels` of x: a quarter of the bytes, so
/// that places are found by shifts.
inline constexpr int narrow_channels = 4, wide_of_narrow = 16;

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

/// Whether a narrow gradient is one that kernels take: all voxels in one row, beginning at 16 bytes, and an
/// even number of them, for two are read at a time.
inline bool narrow_gradient_applies(const NarrowGradient& of) {
  const auto in_a_row = [](const View<const bfloat16>& v, int64_t channels) {
    return v.c == channels && v.stride_w == channels && v.stride_h == v.w * channels &&
           v.stride_d == v.h * v.stride_h && v.stride_n == v.d * v.stride_d && v.voxels() % 2 == 0 &&
           reinterpret_cast<uintptr_t>(v.data) % 16 == 0;
  };
  return in_a_row(of.dy, narrow_channels) && in_a_row(of.x, wide_of_narrow);
}

/// `to`: where the result is stored, or a view without data; `read`: what kernels read in the place of dy.
inline NormGradientSource norm_gradient_source(const InputNorm& norm, const View<const bfloat16>& x,
                                               const float* means, const bfloat16* read,
                                               const View<bfloat16>& to) {
  return {norm_arguments(norm, x.c),
          norm.params.fixed_statistics ? nullptr : means,
          (norm.params.per_instance ? x.n : 1) * x.c,
          elements_between(read, x.data),
          to.data != nullptr ? elements_between(read, to.data) : 0,
          to.data != nullptr,
          nullptr,
          x.data,
          nullptr};
}
inline NormGradientSource norm_gradient_source(const NormInputGradient& of, const View<bfloat16>& to) {
  return norm_gradient_source(of.norm, of.x, of.means, of.dy.data, to);
}
inline NormGradientSource norm_gradient_source(const NarrowGradient& of, const View<bfloat16>& to) {
  NormGradientSource source = norm_gradient_source(of.norm, of.x, of.means, of.x.data, to);
  source.narrow = of.dy.data, source.weight = of.weight;
  return source;
}

/// conv3d_backward_weight_halo_tile() of a narrow gradient, where narrow_gradient_applies(); what is made of
/// it is stored to `made` if that has data.
void conv3d_backward_weight_halo_tile(float* dweight, const NarrowGradient& source, View<const bfloat16> x,
                                      int multiprocessors, const Exec& exec, const InputNorm* norm,
                                      View<bfloat16> made);

/// Both gradients likewise (conv3d_cuda.h).
void conv3d_backward_halo_tile(View<bfloat16> dx, float* dweight, const NarrowGradient& source,
                               View<const bfloat16> x, const InputNorm& norm, const float* weight,
                               int multiprocessors, const Exec& exec);

/// The halves of conv3d_backward_through_norm_pointwise(), likewise for what pointwise_norm_applies() to.
void conv3d_backward_to_norm_pointwise(float* dweight, float* dbias, const NormGradients& gradients,
                                       float* means, View<const bfloat16> dy, View<const bfloat16> x,
                                       const InputNorm& norm, const float* weight, const Exec& exec);
void conv3d_make_gradient_pointwise(View<bfloat16> dx, const NarrowGradient& source, const Exec& exec);

/// The parameters of `Channels` channels in shared memory: for every 8 of them mean, scale, shift, mean(dv)
/// and mean(dv xhat) / deviation; chunks of 8 lie in different banks.
/// With `Narrow` also the weights of a narrow gradient.
template <int Channels, bool Narrow = false>
class NormGradientTable {
 public:
  static constexpr int weight_place = 40, chunk_floats = Narrow ? 76 : 44,
                       floats = Channels / 8 * chunk_floats, slope_place = chunk_floats - 4;

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
      if constexpr (Narrow) {
        for (int n = 0; n < narrow_channels; ++n)
          to[weight_place + 8 * n] = to_float(to_bfloat16(source.weight[n * Channels + channel]));
      }
    }
    if (threadIdx.x == 0) shared[slope_place] = slope_;
  }

  /// That has been filled before.
  __device__ __forceinline__ NormGradientTable(uint32_t shared, float slope, bool relu)
      : shared_(shared), slope_(slope), relu_(relu) {}
  __device__ __forceinline__ float slope() const { return slope_; }

  /// Of four channels, which are read once for many voxels.
  struct Parameters {
    uint32_t mean[4], scale[4], shift[4], offset[4], factor[4];
  };
  __device__ __forceinline__ Parameters parameters(int index, int half) const {
    const uint32_t from = place(index, half);
    Parameters of;
    ptx::load_shared_16(of.mean, from);
    ptx::load_shared_16(of.scale, from + 32);
    ptx::load_shared_16(of.shift, from + 64);
    ptx::load_shared_16(of.offset, from + 96);
    ptx::load_shared_16(of.factor, from + 128);
    return of;
  }

  /// Makes the 16 bytes at `gradient` in shared memory, channels 8 index and on, those of the norm's input,
  /// whose own are at `x`; they are also stored to `to` unless it is null.
  __device__ __forceinline__ void apply(int index, uint32_t gradient, uint32_t x, bfloat16* to) const {
    apply([&](int half) { return parameters(index, half); }, gradient, x, to);
  }
  /// The same with parameters_of(half), those of the channels.
  template <class ParametersOf>
  __device__ __forceinline__ void apply(const ParametersOf& parameters_of, uint32_t gradient, uint32_t x,
                                        bfloat16* to) const {
    uint32_t words[4], of_x[4];
    ptx::load_shared_16(words, gradient);
    ptx::load_shared_16(of_x, x);
    uint32_t made[4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float g[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) g[k] = element(words, half * 4 + k);
      finish(made, g, of_x, parameters_of(half), half);
    }
    store(gradient, made, to);
  }

  /// The same of the narrow gradient of a voxel, `odd` of two at `narrow`; x is at `x`, where the result
  /// goes.
  __device__ __forceinline__ void apply_narrow(int index, uint32_t narrow, bool odd, uint32_t x,
                                               bfloat16* to) const {
    apply_narrow(
        index, [&](int half) { return parameters(index, half); }, narrow, odd, x, to);
  }
  /// With parameters_of(half), those of the channels.
  template <class ParametersOf>
  __device__ __forceinline__ void apply_narrow(int index, const ParametersOf& parameters_of, uint32_t narrow,
                                               bool odd, uint32_t x, bfloat16* to) const {
    uint32_t words[4], of_x[4], made[4];
    ptx::load_shared_16(words, narrow);
    ptx::load_shared_16(of_x, x);
    const uint32_t pair[2] = {odd ? words[2] : words[0], odd ? words[3] : words[1]};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float g[4] = {};
#pragma unroll
      for (int n = 0; n < narrow_channels; ++n) {
        uint32_t weight[4];
        ptx::load_shared_16(weight, place(index, half) + (weight_place + 8 * n) * 4);
#pragma unroll
        for (int k = 0; k < 4; ++k) g[k] = fmaf(element(pair, n), __uint_as_float(weight[k]), g[k]);
      }
      finish(made, g, of_x, parameters_of(half), half);
    }
    store(x, made, to);
  }

 private:
  template <int Count>
  static __device__ __forceinline__ float element(const uint32_t (&words)[Count], int i) {
    return i % 2 == 0 ? ptx::low_bfloat16(words[i / 2]) : ptx::high_bfloat16(words[i / 2]);
  }
  __device__ __forceinline__ uint32_t place(int index, int half) const {
    return shared_ + index * (chunk_floats * 4) + half * 16;
  }
  static __device__ __forceinline__ void store(uint32_t address, const uint32_t (&words)[4], bfloat16* to) {
    ptx::store_shared_16(address, words[0], words[1], words[2], words[3]);
    if (to != nullptr) ptx::store_global_16(to, words[0], words[1], words[2], words[3]);
  }

  /// Four channels of dx from the gradient of the norm's result.
  __device__ __forceinline__ void finish(uint32_t (&made)[4], const float (&g)[4], const uint32_t (&of_x)[4],
                                         const Parameters& of, int half) const {
    float dx[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float centred = element(of_x, half * 4 + k) - __uint_as_float(of.mean[k]),
                  v = fmaf(centred, __uint_as_float(of.scale[k]), __uint_as_float(of.shift[k])),
                  dv = v <= 0 ? (relu_ ? 0.0f : g[k] * slope_) : g[k];
      dx[k] = __uint_as_float(of.scale[k]) *
              fmaf(-centred, __uint_as_float(of.factor[k]), dv - __uint_as_float(of.offset[k]));
    }
    made[half * 2] = ptx::pack_bfloat16(dx[0], dx[1]);
    made[half * 2 + 1] = ptx::pack_bfloat16(dx[2], dx[3]);
  }

  uint32_t shared_;
  float slope_;
  bool relu_;
};

}  // namespace vg::kernels::cuda
