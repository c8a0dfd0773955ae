// A thread takes 16 bytes of neighbouring channels of several voxels (kernels/common/channel_shares.cuh).
#include "kernels/activation/activation.cuh"
#include "kernels/activation/activation_impl.h"

namespace vg::kernels::cuda {

namespace {

template <int Width, class Activation, class T>
struct ForwardShare {
  View<T> y;
  View<const T> x;
  VoxelIndex index;
  DeviceActivation parameters;
  __device__ void operator()(const Share& share) const {
    const Activation activation(parameters, share.channel);
    index.for_each(share, [&](const auto& place, int64_t) {
      Lanes<Width> v = Lanes<Width>::load(place.in(x) + share.channel);
#pragma unroll
      for (int k = 0; k < Width; ++k) v[k] = activation.value(v[k], k);
      v.store(place.in(y) + share.channel);
    });
  }
};

template <int Width, class Activation, class T>
struct BackwardShare {
  View<T> dx;
  View<const T> dy, x;
  VoxelIndex index;
  DeviceActivation parameters;
  __device__ void operator()(const Share& share) const {
    const Activation activation(parameters, share.channel);
    index.for_each(share, [&](const auto& place, int64_t) {
      const Lanes<Width> v = Lanes<Width>::load(place.in(x) + share.channel);
      Lanes<Width> g = Lanes<Width>::load(place.in(dy) + share.channel);
#pragma unroll
      for (int k = 0; k < Width; ++k) g[k] = activation.gradient(g[k], v[k], k);
      g.store(place.in(dx) + share.channel);
    });
  }
};

// The slope's gradient: sums of dy * min(x, 0).
template <int Width, class T>
struct SlopeShare {
  View<const T> dy, x;
  VoxelIndex index;
  __device__ void operator()(const Share& share, ChannelSums<1, Width>& sums) const {
    Lanes<Width> sum = Lanes<Width>::all(0);
    index.for_each<2>(share, [&](const auto& place, int64_t) {
      const Lanes<Width> v = Lanes<Width>::load_constant(place.in(x) + share.channel),
                         g = Lanes<Width>::load_constant(place.in(dy) + share.channel);
#pragma unroll
      for (int k = 0; k < Width; ++k) {
        if (v[k] <= 0) sum[k] = fmaf(g[k], v[k], sum[k]);
      }
    });
#pragma unroll
    for (int k = 0; k < Width; ++k) sums.v[0][k] = sum[k];
  }
};

// To the channel's own slope, or for the sum over channels.
struct FinishSlope {
  float* dslope;
  double* sums;
  __device__ void operator()(int64_t channel, const double (&sum)[1]) const {
    if (sums != nullptr) {
      sums[channel] = sum[0];
    } else {
      dslope[channel] += static_cast<float>(sum[0]);
    }
  }
};

// Calls run(lanes, activation) with integral constants... of the width and a PiecewiseLinear or Sigmoid type.
template <template <int> class Activation>
struct Kind {
  template <int Width>
  using type = Activation<Width>;
};
template <class Run>
void with_kind(ActivationKind kind, const Run& run) {
  if (kind == ActivationKind::sigmoid) return run(Kind<Sigmoid>{});
  run(Kind<PiecewiseLinear>{});
}

template <class T>
void add_slope_gradient(float* dslope, const View<const T>& dy, const View<const T>& x, int64_t slope_count,
                        const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  double* const sums = slope_count == 1 ? scope.allocate<double>(static_cast<size_t>(x.c)) : nullptr;
  with_lanes(
      [&](auto lanes) {
        channel_sums<1, lanes.value>(1, x.voxels(), x.c, SlopeShare<lanes.value, T>{dy, x, VoxelIndex(dy, x)},
                                     FinishSlope{dslope, sums}, exec);
      },
      dy, x);
  if (sums == nullptr) return;
  add_shared_slope_kernel<<<1, block_threads, 0, stream_of(exec)>>>(dslope, sums, x.c);
  check_launch();
}

}  // namespace

template <class T>
void activation_forward(View<T> y, View<const T> x, const float* slope, const ActivationParams& params,
                        const Exec& exec) {
  with_kind(params.kind, [&](auto kind) {
    with_lanes(
        [&](auto lanes) {
          using Activation = typename decltype(kind)::template type<lanes.value>;
          for_each_share<lanes.value>(1, x.voxels(), x.c,
                                      ForwardShare<lanes.value, Activation, T>{
                                          y, x, VoxelIndex(y, x), device_activation(params, slope)},
                                      exec);
        },
        y, x);
  });
}

template <class T>
void activation_backward(View<T> dx, float* dslope, View<const T> dy, View<const T> x, const float* slope,
                         const ActivationParams& params, const Exec& exec) {
  // The slope's gradient first: dx may be dy.
  if (params.kind == ActivationKind::prelu && x.elements() > 0)
    add_slope_gradient(dslope, dy, x, params.slope_count, exec);
  with_kind(params.kind, [&](auto kind) {
    with_lanes(
        [&](auto lanes) {
          using Activation = typename decltype(kind)::template type<lanes.value>;
          for_each_share<lanes.value>(1, x.voxels(), x.c,
                                      BackwardShare<lanes.value, Activation, T>{
                                          dx, dy, x, VoxelIndex(dx, dy, x), device_activation(params, slope)},
                                      exec);
        },
        dx, dy, x);
  });
}

#define VG_INSTANTIATE(T)                                                                         \
  template void activation_forward(View<T>, View<const T>, const float*, const ActivationParams&, \
                                   const Exec&);                                                  \
  template void activation_backward(View<T>, float*, View<const T>, View<const T>, const float*,  \
                                    const ActivationParams&, const Exec&);
VG_INSTANTIATE(float)
VG_INSTANTIATE(bfloat16)
#undef VG_INSTANTIATE

}  // namespace vg::kernels::cuda
