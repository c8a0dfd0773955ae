// Statistics and the sums of backward: two launches each, deterministic (kernels/common/reduce.cuh). A thread
// takes 16 bytes of neighbouring channels of several voxels and loads the channels' parameters once
// (kernels/common/channel_shares.cuh). Groups of the launches are batch norm's one or instance norm's N.
#include "kernels/activation/activation.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/norm3d/norm3d_impl.h"

namespace vg::kernels::cuda {

namespace {

// Everything per channel; the kernels' common argument.
struct Parameters {
  const float *mean, *variance, *gamma, *beta;
  DeviceActivation activation;
  float eps;
};

Parameters parameters_of(const float* mean, const float* variance, const float* gamma, const float* beta,
                         const float* slope, const Norm3dParams& params) {
  return {mean, variance, gamma, beta, device_activation(params.activation, slope), params.eps};
}

Parameters parameters_of(const InputNorm& norm) {
  return parameters_of(norm.mean, norm.variance, norm.gamma, norm.beta, norm.slope, norm.params);
}

// The map of `Width` neighbouring channels of a group: before the activation, (x - mean) * scale + shift.
template <int Width>
struct ChannelNorm {
  Lanes<Width> mean, inverse, scale, shift;
  PiecewiseLinear<Width> activation;

  __device__ __forceinline__ ChannelNorm(const Parameters& p, const Share& share, int64_t channels)
      : scale(Lanes<Width>::all(1)), shift(Lanes<Width>::all(0)), activation(p.activation, share.channel) {
    if (p.gamma != nullptr) {
      scale = Lanes<Width>::parameters(p.gamma + share.channel);
      shift = Lanes<Width>::parameters(p.beta + share.channel);
    }
    const int64_t group = share.group * channels + share.channel;
    mean = Lanes<Width>::parameters(p.mean + group);
    inverse = Lanes<Width>::parameters(p.variance + group);
#pragma unroll
    for (int k = 0; k < Width; ++k) {
      inverse[k] = 1 / sqrtf(inverse[k] + p.eps);
      scale[k] *= inverse[k];
    }
  }
  // Before the activation, of x - mean.
  __device__ __forceinline__ float normalised(float centred, int k) const {
    return fmaf(centred, scale[k], shift[k]);
  }
};

// Sums of x and x^2, see Moments.
template <int Width, class T>
struct MomentsShare {
  View<const T> x;
  VoxelIndex index;
  __device__ void operator()(const Share& share, ChannelSums<2, Width>& sums) const {
    const Lanes<Width> origin = Lanes<Width>::load_constant(index(share.first).in(x) + share.channel);
    Lanes<Width> sum = Lanes<Width>::all(0), square = sum;
    int count = 0;
    index.for_each<4>(share, [&](const auto& place, int64_t) {
      const Lanes<Width> v = Lanes<Width>::load_constant(place.in(x) + share.channel);
#pragma unroll
      for (int k = 0; k < Width; ++k) {
        const float shifted = v[k] - origin[k];
        sum[k] += shifted;
        square[k] = fmaf(shifted, shifted, square[k]);
      }
      ++count;
    });
#pragma unroll
    for (int k = 0; k < Width; ++k) {
      const Moments moments(origin[k], sum[k], square[k], count);
      sums.v[0][k] = moments.sum();
      sums.v[1][k] = moments.square();
    }
  }
};

struct FinishMoments {
  float *mean, *variance;
  double count;
  __device__ void operator()(int64_t group, const double (&sums)[2]) const {
    finish_moments(mean[group], variance[group], sums[0], sums[1], count);
  }
};

// Pieces are "voxels" here.
struct PieceShare {
  const float2* partials;
  int64_t channels;
  __device__ void operator()(const Share& share, ChannelSums<2, 1>& sums) const {
    for (int64_t piece = share.first; piece < share.limit; piece += share.step) {
      const float2 of_piece = partials[piece * channels + share.channel];
      sums.v[0][0] += of_piece.x;
      sums.v[1][0] += of_piece.y;
    }
  }
};

template <int Width, class T>
struct ApplyShare {
  View<T> y;
  View<const T> x;
  VoxelIndex index;
  Parameters parameters;
  __device__ void operator()(const Share& share) const {
    const ChannelNorm<Width> norm(parameters, share, x.c);
    index.for_each(share, [&](const auto& place, int64_t) {
      Lanes<Width> v = Lanes<Width>::load(place.in(x) + share.channel);
#pragma unroll
      for (int k = 0; k < Width; ++k)
        v[k] = norm.activation.value(norm.normalised(v[k] - norm.mean[k], k), k);
      v.store(place.in(y) + share.channel);
    });
  }
};

// Sums per channel of dv = dy * act', of dv * xhat and, if there are three, of dy * min(v, 0), which is the
// slope's gradient.
template <int Results, int Width, class T>
struct GradientShare {
  View<const T> dy, x;
  VoxelIndex index;
  Parameters parameters;
  __device__ void operator()(const Share& share, ChannelSums<Results, Width>& sums) const {
    const ChannelNorm<Width> norm(parameters, share, x.c);
    Lanes<Width> sum = Lanes<Width>::all(0), product = sum, slope = sum;
    index.for_each<2>(share, [&](const auto& place, int64_t) {
      const Lanes<Width> value = Lanes<Width>::load_constant(place.in(x) + share.channel),
                         gradient = Lanes<Width>::load_constant(place.in(dy) + share.channel);
#pragma unroll
      for (int k = 0; k < Width; ++k) {
        const float centred = value[k] - norm.mean[k], v = norm.normalised(centred, k),
                    dv = norm.activation.gradient(gradient[k], v, k);
        sum[k] += dv;
        product[k] = fmaf(dv, centred, product[k]);
        if (Results > 2 && v <= 0) slope[k] = fmaf(gradient[k], v, slope[k]);
      }
    });
#pragma unroll
    for (int k = 0; k < Width; ++k) {
      sums.v[0][k] = sum[k];
      sums.v[1][k] = double{product[k]} * norm.inverse[k];
      if constexpr (Results > 2) sums.v[2][k] = slope[k];
    }
  }
};

// The same from sums over pieces, see NormGradientSums; pieces are "voxels" here.
template <int Results>
struct GradientPieceShare {
  const float* partials;
  int columns;
  int64_t channels;
  const float* variance;
  float eps;
  __device__ void operator()(const Share& share, ChannelSums<Results, 1>& sums) const {
    for (int64_t piece = share.first; piece < share.limit; piece += share.step) {
      const float* const of_piece = partials + (piece * channels + share.channel) * columns;
#pragma unroll
      for (int r = 0; r < Results; ++r) sums.v[r][0] += of_piece[r];
    }
    sums.v[1][0] *= 1 / sqrtf(variance[share.group * channels + share.channel] + eps);
  }
};

// Leaves the sums for norm3d_add_gradients(), as those of one piece.
struct StoreGradientSums {
  float* sums;
  const float* variance;  // of the group; null where products are of x - mean already
  float eps;
  __device__ void operator()(int64_t group, const double (&values)[2]) const {
    sums[2 * group] = static_cast<float>(values[0]);
    const double deviation = variance != nullptr ? double{sqrtf(variance[group] + eps)} : 1;
    sums[2 * group + 1] = static_cast<float>(values[1] * deviation);
  }
};

// Where the sums of backward go.
struct GradientSums {
  float *dgamma, *dbeta, *dslope;  // [channels]; null if there are none
  // For dx, [groups * channels]: mean(dv), and mean(dv * xhat) / deviation.
  float *mean_dv, *mean_product;
  double* sums;    // [groups * channels][2] where instances are to be added, else null
  double* slopes;  // [groups * channels] where the slopes are to be added, else null
  const float* variance;
  float eps;
  double count;

  __device__ void add(int64_t channel, double sum, double product) const {
    if (dbeta == nullptr) return;
    dbeta[channel] += static_cast<float>(sum);
    dgamma[channel] += static_cast<float>(product);
  }
  template <int Results>
  __device__ void operator()(int64_t group, const double (&values)[Results]) const {
    const float inverse = 1 / sqrtf(variance[group] + eps);
    mean_dv[group] = static_cast<float>(values[0] / count);
    mean_product[group] = static_cast<float>(values[1] / count * inverse);
    if (sums == nullptr) {  // then a group is a channel
      add(group, values[0], values[1]);
    } else {
      sums[2 * group] = values[0], sums[2 * group + 1] = values[1];
    }
    if constexpr (Results > 2) {
      if (slopes != nullptr) {
        slopes[group] = values[2];
      } else {
        dslope[group] += static_cast<float>(values[2]);
      }
    }
  }
};

// One thread a channel; adds what the instances gave. The slopes likewise if `of_channels`.
__global__ void add_instances_kernel(GradientSums to, int64_t instances, int64_t channels, bool of_channels) {
  const int64_t channel = thread_index();
  if (channel >= channels) return;
  double sum = 0, product = 0, slope = 0;
  for (int64_t n = 0; n < instances; ++n) {
    const int64_t group = n * channels + channel;
    sum += to.sums[2 * group], product += to.sums[2 * group + 1];
    if (of_channels) slope += to.slopes[group];
  }
  to.add(channel, sum, product);
  if (of_channels) to.dslope[channel] += static_cast<float>(slope);
}

// dx = scale * (dv - mean(dv) - xhat * mean(dv * xhat)). The means are null where the statistics are
// constants.
template <int Width, class T>
struct InputGradientShare {
  View<T> dx;
  View<const T> dy, x;
  VoxelIndex index;
  Parameters parameters;
  const float *mean_dv, *mean_product;
  __device__ void operator()(const Share& share) const {
    const ChannelNorm<Width> norm(parameters, share, x.c);
    Lanes<Width> offset = Lanes<Width>::all(0), factor = offset;
    if (mean_dv != nullptr) {
      offset = Lanes<Width>::parameters(mean_dv + share.group * x.c + share.channel);
      factor = Lanes<Width>::parameters(mean_product + share.group * x.c + share.channel);
    }
    index.for_each(share, [&](const auto& place, int64_t) {
      const Lanes<Width> value = Lanes<Width>::load(place.in(x) + share.channel);
      Lanes<Width> g = Lanes<Width>::load(place.in(dy) + share.channel);
#pragma unroll
      for (int k = 0; k < Width; ++k) {
        const float centred = value[k] - norm.mean[k],
                    dv = norm.activation.gradient(g[k], norm.normalised(centred, k), k);
        g[k] = norm.scale[k] * fmaf(-centred, factor[k], dv - offset[k]);
      }
      g.store(place.in(dx) + share.channel);
    });
  }
};

__global__ void update_running_kernel(float* running_mean, float* running_variance, const float* mean,
                                      const float* variance, int64_t channels, float unbiased,
                                      float momentum) {
  const int64_t c = thread_index();
  if (c >= channels) return;
  running_mean[c] += momentum * (mean[c] - running_mean[c]);
  running_variance[c] += momentum * (variance[c] * unbiased - running_variance[c]);
}

template <class T>
int64_t groups_of(const View<const T>& x, const Norm3dParams& params) {
  return params.per_instance ? x.n : 1;
}

// The sums of backward: parameter gradients, and the means for dx. `sum(results, to)` adds up 2 or 3 results.
template <class Sum>
void add_parameter_gradients(float* means, const NormGradients& gradients, const float* variance,
                             const Norm3dParams& params, int64_t groups, int64_t channels, int64_t count,
                             const Exec& exec, const Sum& sum) {
  WorkspaceScope scope(*exec.workspace);
  const auto values = static_cast<size_t>(groups * channels);
  const bool prelu = params.activation.kind == ActivationKind::prelu,
             shared_slope = prelu && params.activation.slope_count == 1;
  const GradientSums to{
      .dgamma = gradients.gamma,
      .dbeta = gradients.beta,
      .dslope = prelu ? gradients.slope : nullptr,
      .mean_dv = means,
      .mean_product = means + values,
      .sums = groups > 1 ? scope.allocate<double>(2 * values) : nullptr,
      .slopes = prelu && (groups > 1 || shared_slope) ? scope.allocate<double>(values) : nullptr,
      .variance = variance,
      .eps = params.eps,
      .count = static_cast<double>(count),
  };
  if (prelu) {
    sum(std::integral_constant<int, 3>{}, to);
  } else {
    sum(std::integral_constant<int, 2>{}, to);
  }
  if (to.sums != nullptr) {
    add_instances_kernel<<<blocks_for(channels), block_threads, 0, stream_of(exec)>>>(to, groups, channels,
                                                                                      prelu && !shared_slope);
    check_launch();
  }
  if (shared_slope) {
    add_shared_slope_kernel<<<1, block_threads, 0, stream_of(exec)>>>(to.dslope, to.slopes,
                                                                      groups * channels);
    check_launch();
  }
}

// The same in a pass over dy and x.
template <class T>
void sum_gradients(float* means, const NormGradients& gradients, const View<const T>& dy,
                   const View<const T>& x, const Parameters& parameters, const Norm3dParams& params,
                   const Exec& exec) {
  const int64_t groups = groups_of(x, params), voxels = x.voxels() / groups;
  add_parameter_gradients(
      means, gradients, parameters.variance, params, groups, x.c, voxels, exec,
      [&](auto results, const GradientSums& to) {
        with_lanes(
            [&](auto lanes) {
              channel_sums<results.value, lanes.value>(
                  groups, voxels, x.c,
                  GradientShare<results.value, lanes.value, T>{dy, x, VoxelIndex(dy, x), parameters}, to,
                  exec);
            },
            dy, x);
      });
}

template <class T>
void input_gradient(const View<T>& dx, const View<const T>& dy, const View<const T>& x,
                    const Parameters& parameters, const Norm3dParams& params, const float* means,
                    const Exec& exec) {
  const int64_t groups = groups_of(x, params);
  const bool fixed = params.fixed_statistics;
  with_lanes(
      [&](auto lanes) {
        for_each_share<lanes.value, 3>(groups, x.voxels() / groups, x.c,
                                       InputGradientShare<lanes.value, T>{
                                           dx, dy, x, VoxelIndex(dx, dy, x), parameters,
                                           fixed ? nullptr : means, fixed ? nullptr : means + groups * x.c},
                                       exec);
      },
      dx, dy, x);
}

}  // namespace

template <class T>
void norm3d_statistics(float* mean, float* variance, View<const T> x, const Norm3dParams& params,
                       const Exec& exec) {
  const int64_t groups = groups_of(x, params), voxels = x.voxels() / groups;
  with_lanes(
      [&](auto lanes) {
        channel_sums<2, lanes.value>(groups, voxels, x.c, MomentsShare<lanes.value, T>{x, VoxelIndex(x)},
                                     FinishMoments{mean, variance, static_cast<double>(voxels)}, exec);
      },
      x);
}

void norm3d_moments_to_statistics(float* mean, float* variance, const float* partials, int64_t groups,
                                  int64_t pieces, int64_t channels, int64_t count, const Exec& exec) {
  channel_sums<2, 1>(groups, pieces, channels,
                     PieceShare{reinterpret_cast<const float2*>(partials), channels},
                     FinishMoments{mean, variance, static_cast<double>(count)}, exec);
}

template <class T>
void norm3d_apply(View<T> y, View<const T> x, const float* mean, const float* variance, const float* gamma,
                  const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec) {
  if (x.elements() == 0) return;
  const int64_t groups = groups_of(x, params);
  with_lanes(
      [&](auto lanes) {
        for_each_share<lanes.value>(
            groups, x.voxels() / groups, x.c,
            ApplyShare<lanes.value, T>{y, x, VoxelIndex(y, x),
                                       parameters_of(mean, variance, gamma, beta, slope, params)},
            exec);
      },
      y, x);
}

template <class T>
void norm3d_backward(View<T> dx, float* dgamma, float* dbeta, float* dslope, View<const T> dy,
                     View<const T> x, const float* mean, const float* variance, const float* gamma,
                     const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const Parameters parameters = parameters_of(mean, variance, gamma, beta, slope, params);
  float* const means = scope.allocate<float>(static_cast<size_t>(2 * groups_of(x, params) * x.c));
  sum_gradients(means, {dgamma, dbeta, dslope}, dy, x, parameters, params, exec);
  input_gradient(dx, dy, x, parameters, params, means, exec);
}

void norm3d_add_gradients(float* means, const NormGradients& gradients, const NormGradientSums& sums,
                          const InputNorm& norm, const Exec& exec) {
  add_parameter_gradients(means, gradients, norm.variance, norm.params, sums.groups, sums.channels,
                          sums.count, exec, [&](auto results, const GradientSums& to) {
                            channel_sums<results.value, 1>(
                                sums.groups, sums.pieces, sums.channels,
                                GradientPieceShare<results.value>{sums.partials, sums.columns, sums.channels,
                                                                  norm.variance, norm.params.eps},
                                to, exec);
                          });
}

void norm3d_add_gradients(float* means, const NormGradients& gradients, View<const bfloat16> dy,
                          View<const bfloat16> x, const InputNorm& norm, const Exec& exec) {
  sum_gradients(means, gradients, dy, x, parameters_of(norm), norm.params, exec);
}

void norm3d_gradient_sums(float* sums, View<const bfloat16> dy, View<const bfloat16> x, const InputNorm& norm,
                          const Exec& exec) {
  const int64_t groups = groups_of(x, norm.params);
  with_lanes(
      [&](auto lanes) {
        channel_sums<2, lanes.value>(
            groups, x.voxels() / groups, x.c,
            GradientShare<2, lanes.value, bfloat16>{dy, x, VoxelIndex(dy, x), parameters_of(norm)},
            StoreGradientSums{sums, norm.variance, norm.params.eps}, exec);
      },
      dy, x);
}

void norm3d_join_pieces(float* sums, const NormGradientSums& pieces, const Exec& exec) {
  channel_sums<2, 1>(pieces.groups, pieces.pieces, pieces.channels,
                     PieceShare{reinterpret_cast<const float2*>(pieces.partials), pieces.channels},
                     StoreGradientSums{sums, nullptr, 0}, exec);
}

void norm3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, View<const bfloat16> x,
                           const InputNorm& norm, const float* means, const Exec& exec) {
  if (x.elements() == 0) return;
  input_gradient(dx, dy, x, parameters_of(norm), norm.params, means, exec);
}

void norm3d_update_running(float* running_mean, float* running_variance, const float* mean,
                           const float* variance, int64_t channels, int64_t count, float momentum,
                           const Exec& exec) {
  const float unbiased = static_cast<float>(static_cast<double>(count) / static_cast<double>(count - 1));
  update_running_kernel<<<blocks_for(channels), block_threads, 0, stream_of(exec)>>>(
      running_mean, running_variance, mean, variance, channels, unbiased, momentum);
  check_launch();
}

#define VG_INSTANTIATE(T)                                                                                    \
  template void norm3d_statistics(float*, float*, View<const T>, const Norm3dParams&, const Exec&);          \
  template void norm3d_apply(View<T>, View<const T>, const float*, const float*, const float*, const float*, \
                             const float*, const Norm3dParams&, const Exec&);                                \
  template void norm3d_backward(View<T>, float*, float*, float*, View<const T>, View<const T>, const float*, \
                                const float*, const float*, const float*, const float*, const Norm3dParams&, \
                                const Exec&);
VG_INSTANTIATE(float)
VG_INSTANTIATE(bfloat16)
#undef VG_INSTANTIATE

}  // namespace vg::kernels::cuda
