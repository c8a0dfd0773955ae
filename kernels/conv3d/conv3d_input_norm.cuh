// A norm and its activation, applied to the input of a convolution in shared memory: each thread transforms
// the 16 bytes that it has copied itself, between the wait for its copies and the barrier after which others
// read them, so that no pass over memory and no barrier is added. The same arithmetic, to the bit, as
// norm3d_apply() followed by a convolution.
#pragma once

#include <type_traits>

#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/norm3d/norm3d.h"

namespace vg::kernels::cuda {

/// What a kernel needs of an InputNorm.
struct NormArguments {
  const float *mean, *variance, *gamma, *beta;  ///< gamma and beta may be null
  const float* slope;                           ///< of prelu, else null
  float negative_slope;                         ///< without slope: 1 for the identity
  float eps;
  bool relu;             ///< 0 instead of a multiple: a slope of 0 would make NaN of -infinity
  int64_t group_stride;  ///< from a sample's mean and variance to those of the next: 0 for batch norm
  int first_channel;
};

/// Whether this norm can be applied so: no slope for each channel.
inline bool input_norm_applies(const InputNorm& norm) {
  return norm.slope == nullptr || norm.params.activation.slope_count == 1;
}

inline NormArguments norm_arguments(const InputNorm& norm, int64_t channels) {
  const ActivationParams& activation = norm.params.activation;
  return {norm.mean,
          norm.variance,
          norm.gamma,
          norm.beta,
          norm.slope,
          activation.kind == ActivationKind::identity ? 1.0f : activation.negative_slope,
          norm.params.eps,
          activation.kind == ActivationKind::relu,
          norm.params.per_instance ? channels - norm.first_channel : 0,
          static_cast<int>(norm.first_channel)};
}

/// The parameters of a lane's channels, at most 8 of those that lie together, read from shared memory where
/// they are needed.
class NormParameters {
 public:
  __device__ __forceinline__ NormParameters(const float* shared, float slope, bool relu)
      : shared_(shared), slope_(slope), relu_(relu) {}
  /// The same, read from elsewhere.
  __device__ __forceinline__ NormParameters at(const float* parameters) const {
    return {parameters, slope_, relu_};
  }
  __device__ __forceinline__ float mean(int i) const { return shared_[i]; }
  __device__ __forceinline__ float scale(int i) const { return shared_[8 + i]; }
  __device__ __forceinline__ float shift(int i) const { return shared_[16 + i]; }
  __device__ __forceinline__ float gradient(float dy, float v) const {
    return v <= 0 ? (relu_ ? 0.0f : dy * slope_) : dy;
  }

 private:
  const float* shared_;
  float slope_;
  bool relu_;
};

/// The float at a multiple of 16 bytes in shared memory, by a load of 16 bytes.
__device__ __forceinline__ float first_float(uint32_t address) {
  uint32_t words[4];
  ptx::load_shared_16(words, address);
  return __uint_as_float(words[0]);
}

/// The parameters of `Channels` channels in shared memory: for every 8 of them mean, scale and shift, so that
/// eight threads that take different ones meet different banks; behind the first 8 the slope.
template <int Channels>
class NormTable {
 public:
  static constexpr int chunk_floats = 28, floats = Channels / 8 * chunk_floats, slope_place = 24;

  /// Fills the table for channels from `first` on of a sample, fewer than the table has if `channels` says
  /// so. For all threads; a barrier must follow.
  __device__ __forceinline__ NormTable(float* shared, const NormArguments& norm, int64_t sample,
                                       int64_t first, int channels = Channels)
      : shared_(ptx::shared_address(shared)),
        first_chunk_((norm.first_channel - static_cast<int>(first)) / 8),
        slope_(norm.slope != nullptr ? *norm.slope : norm.negative_slope),
        relu_(norm.relu) {
    for (int i = static_cast<int>(threadIdx.x); i < channels; i += static_cast<int>(blockDim.x)) {
      const int64_t channel = first + i - norm.first_channel;
      if (channel < 0) continue;
      const int64_t of_sample = sample * norm.group_stride + channel;
      float* const to = shared + i / 8 * chunk_floats + i % 8;
      const float inverse = 1 / sqrtf(norm.variance[of_sample] + norm.eps);
      to[0] = norm.mean[of_sample];
      to[8] = norm.gamma != nullptr ? norm.gamma[channel] * inverse : inverse;
      to[16] = norm.beta != nullptr ? norm.beta[channel] : 0.0f;
    }
    if (threadIdx.x == 0) shared[slope_place] = slope_;
  }

  /// That has been filled before, of a norm of the channels from the first_chunk-th 8 on.
  __device__ __forceinline__ NormTable(const float* shared, bool relu, int first_chunk = 0)
      : shared_(ptx::shared_address(shared)),
        first_chunk_(first_chunk),
        slope_(first_float(shared_ + slope_place * 4)),
        relu_(relu) {}

  /// The same with a slope that has been read.
  __device__ __forceinline__ NormTable(const float* shared, float slope, bool relu, int first_chunk)
      : shared_(ptx::shared_address(shared)), first_chunk_(first_chunk), slope_(slope), relu_(relu) {}
  __device__ __forceinline__ float slope() const { return slope_; }
  __device__ __forceinline__ int first_chunk() const { return first_chunk_; }

  /// The same with relu, without reading the slope.
  __device__ __forceinline__ explicit NormTable(const float* shared)
      : shared_(ptx::shared_address(shared)), first_chunk_(0), slope_(0), relu_(true) {}

  /// Whether the norm is of these 8 channels.
  __device__ __forceinline__ bool applies(int index) const { return index >= first_chunk_; }

  /// The parameters of 8 channels, and their map.
  struct Chunk {
    uint32_t mean[8], scale[8], shift[8];
    float slope;
    bool relu;

    /// Of the 16 bytes at this address in shared memory.
    __device__ __forceinline__ void apply(uint32_t address) const {
      uint32_t words[4];
      ptx::load_shared_16(words, address);
      apply_to(words);
      ptx::store_shared_16(address, words[0], words[1], words[2], words[3]);
    }
    __device__ __forceinline__ void apply_to(uint32_t (&words)[4]) const {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        words[k] = ptx::pack_bfloat16(value(__uint_as_float(words[k] << 16), 2 * k),
                                      value(__uint_as_float(words[k] & 0xffff0000u), 2 * k + 1));
    }
    __device__ __forceinline__ float value(float x, int k) const {
      const float v =
          fmaf(x - __uint_as_float(mean[k]), __uint_as_float(scale[k]), __uint_as_float(shift[k]));
      return v <= 0 ? (relu ? 0.0f : v * slope) : v;
    }
  };

  /// Of the channels from `channel` on, in the memory that the table was filled into.
  __device__ __forceinline__ NormParameters parameters(const float* shared, int channel) const {
    return {shared + channel / 8 * chunk_floats + channel % 8, slope_, relu_};
  }

  /// chunk(index).apply(address) for a single address: with fewer registers at a time.
  __device__ __forceinline__ void apply_once(int index, uint32_t address) const {
    const uint32_t from = shared_ + index * (chunk_floats * 4);
    uint32_t words[4];
    ptx::load_shared_16(words, address);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint32_t mean[2], scale[2], shift[2];
      ptx::load_shared_8(mean, from + k * 8);
      ptx::load_shared_8(scale, from + 32 + k * 8);
      ptx::load_shared_8(shift, from + 64 + k * 8);
      float v[2] = {__uint_as_float(words[k] << 16), __uint_as_float(words[k] & 0xffff0000u)};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        v[i] = fmaf(v[i] - __uint_as_float(mean[i]), __uint_as_float(scale[i]), __uint_as_float(shift[i]));
        if (v[i] <= 0) v[i] = relu_ ? 0.0f : v[i] * slope_;
      }
      words[k] = ptx::pack_bfloat16(v[0], v[1]);
    }
    ptx::store_shared_16(address, words[0], words[1], words[2], words[3]);
  }

  __device__ __forceinline__ Chunk chunk(int index) const {
    Chunk chunk;
    const uint32_t from = shared_ + index * (chunk_floats * 4);
    load(chunk.mean, from);
    load(chunk.scale, from + 32);
    load(chunk.shift, from + 64);
    chunk.slope = slope_;
    chunk.relu = relu_;
    return chunk;
  }

 private:
  static __device__ __forceinline__ void load(uint32_t (&to)[8], uint32_t from) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t words[4];
      ptx::load_shared_16(words, from + half * 16);
#pragma unroll
      for (int k = 0; k < 4; ++k) to[half * 4 + k] = words[k];
    }
  }

  uint32_t shared_;
  int first_chunk_;
  float slope_;
  bool relu_;
};

/// In place of a table where there is no norm.
struct NoNorm {
  template <class... Arguments>
  __device__ explicit NoNorm(const Arguments&...) {}
};

}  // namespace vg::kernels::cuda
