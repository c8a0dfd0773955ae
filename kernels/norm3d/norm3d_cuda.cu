// Statistics and the sums of backward: two launches each, deterministic (kernels/common/reduce.cuh). The
// passes that write activations: one thread an element.
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
  bool per_instance;
  int64_t voxels_per_instance;

  // Index of the statistics of `channel` of voxel `voxel` among `channels`.
  __device__ int64_t group(int64_t voxel, int64_t channel, int64_t channels) const {
    return per_instance ? voxel / voxels_per_instance * channels + channel : channel;
  }
  __device__ float inverse_deviation(int64_t group) const { return 1 / sqrtf(variance[group] + eps); }
  __device__ float scale(int64_t group, int64_t channel) const {
    return gamma == nullptr ? inverse_deviation(group) : inverse_deviation(group) * gamma[channel];
  }
  // Before the activation.
  __device__ float normalised(float x, int64_t group, int64_t channel) const {
    return fmaf(x - mean[group], scale(group, channel), beta == nullptr ? 0.0f : beta[channel]);
  }
};

Parameters parameters_of(const View<const float>& x, const float* mean, const float* variance,
                         const float* gamma, const float* beta, const float* slope,
                         const Norm3dParams& params) {
  return {mean,
          variance,
          gamma,
          beta,
          device_activation(params.activation, slope),
          params.eps,
          params.per_instance,
          x.d * x.h * x.w};
}

struct MomentsShare {
  View<const float> x;
  __device__ void operator()(int64_t first, int64_t limit, int64_t step, int64_t channel,
                             double (&sums)[2]) const {
    Moments moments(voxel(x, first)[channel]);
    for (int64_t i = first; i < limit; i += step) moments.add(voxel(x, i)[channel]);
    sums[0] += moments.sum();
    sums[1] += moments.square();
  }
};

struct FinishMoments {
  float *mean, *variance;
  double count;
  __device__ void operator()(int64_t group, const double (&sums)[2]) const {
    finish_moments(mean[group], variance[group], sums[0], sums[1], count);
  }
};

__global__ void apply_kernel(View<float> y, View<const float> x, Parameters p) {
  const int64_t i = thread_index();
  if (i >= x.elements()) return;
  const int64_t channel = i % x.c, group = p.group(i / x.c, channel, x.c);
  *element(y, i) = p.activation.value(p.normalised(*element(x, i), group, channel), channel);
}

// Sums per channel of dv = dy * act', of dv * xhat, and of dy * min(v, 0), which is the slope's gradient.
constexpr int backward_sums = 3;

struct GradientShare {
  View<const float> dy, x;
  Parameters p;
  __device__ void operator()(int64_t first, int64_t limit, int64_t step, int64_t channel,
                             double (&sums)[backward_sums]) const {
    const int64_t group = p.group(first, channel, x.c);
    const float mean = p.mean[group], inverse = p.inverse_deviation(group);
    float sum = 0, product = 0, slope = 0;
    for (int64_t i = first; i < limit; i += step) {
      const float value = voxel(x, i)[channel], gradient = voxel(dy, i)[channel],
                  v = p.normalised(value, group, channel);
      const float dv = p.activation.gradient(gradient, v, channel);
      sum += dv;
      product = fmaf(dv, (value - mean) * inverse, product);
      if (v <= 0) slope = fmaf(gradient, v, slope);
    }
    sums[0] += sum;
    sums[1] += product;
    sums[2] += slope;
  }
};

struct StoreSums {
  double* sums;  // [groups][backward_sums]
  __device__ void operator()(int64_t group, const double (&values)[backward_sums]) const {
    for (int r = 0; r < backward_sums; ++r) sums[group * backward_sums + r] = values[r];
  }
};

// One thread a channel; adds what the instances gave.
__global__ void add_parameter_gradients_kernel(float* dgamma, float* dbeta, float* dslope, const double* sums,
                                               int64_t instances, int64_t channels) {
  const int64_t channel = thread_index();
  if (channel >= channels) return;
  double sum[backward_sums] = {};
  for (int64_t n = 0; n < instances; ++n) {
    for (int r = 0; r < backward_sums; ++r) sum[r] += sums[(n * channels + channel) * backward_sums + r];
  }
  if (dbeta != nullptr) {
    dbeta[channel] += static_cast<float>(sum[0]);
    dgamma[channel] += static_cast<float>(sum[1]);
  }
  if (dslope != nullptr) dslope[channel] += static_cast<float>(sum[2]);
}

// One block: the slope that all channels share.
__global__ void add_shared_slope_gradient_kernel(float* dslope, const double* sums, int64_t groups) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < groups; i += block_threads) sum += sums[i * backward_sums + 2];
  sum = block_sum(sum);
  if (threadIdx.x == 0) dslope[0] += static_cast<float>(sum);
}

// dx = scale * (dv - mean(dv) - xhat * mean(dv * xhat)). `sums` is null where the statistics are constants.
__global__ void dx_kernel(View<float> dx, View<const float> dy, View<const float> x, Parameters p,
                          const double* sums, double count) {
  const int64_t i = thread_index();
  if (i >= x.elements()) return;
  const int64_t channel = i % x.c, group = p.group(i / x.c, channel, x.c);
  const float value = *element(x, i);
  float dv = p.activation.gradient(*element(dy, i), p.normalised(value, group, channel), channel);
  if (sums != nullptr) {
    const float xhat = (value - p.mean[group]) * p.inverse_deviation(group);
    const float mean_dv = static_cast<float>(sums[group * backward_sums] / count),
                mean_product = static_cast<float>(sums[group * backward_sums + 1] / count);
    dv = dv - mean_dv - xhat * mean_product;
  }
  *element(dx, i) = p.scale(group, channel) * dv;
}

__global__ void update_running_kernel(float* running_mean, float* running_variance, const float* mean,
                                      const float* variance, int64_t channels, float unbiased,
                                      float momentum) {
  const int64_t c = thread_index();
  if (c >= channels) return;
  running_mean[c] += momentum * (mean[c] - running_mean[c]);
  running_variance[c] += momentum * (variance[c] * unbiased - running_variance[c]);
}

}  // namespace

void norm3d_statistics(float* mean, float* variance, View<const float> x, const Norm3dParams& params,
                       const Exec& exec) {
  const int64_t groups = params.per_instance ? x.n : 1, voxels = x.voxels() / groups;
  channel_sums<2>(groups, voxels, x.c, MomentsShare{x},
                  FinishMoments{mean, variance, static_cast<double>(voxels)}, exec);
}

void norm3d_apply(View<float> y, View<const float> x, const float* mean, const float* variance,
                  const float* gamma, const float* beta, const float* slope, const Norm3dParams& params,
                  const Exec& exec) {
  apply_kernel<<<blocks_for(x.elements()), block_threads, 0, stream_of(exec)>>>(
      y, x, parameters_of(x, mean, variance, gamma, beta, slope, params));
  check_launch();
}

void norm3d_backward(View<float> dx, float* dgamma, float* dbeta, float* dslope, View<const float> dy,
                     View<const float> x, const float* mean, const float* variance, const float* gamma,
                     const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const Parameters p = parameters_of(x, mean, variance, gamma, beta, slope, params);
  const int64_t instances = params.per_instance ? x.n : 1, voxels = x.voxels() / instances;
  double* const sums = scope.allocate<double>(static_cast<size_t>(instances * x.c * backward_sums));
  channel_sums<backward_sums>(instances, voxels, x.c, GradientShare{dy, x, p}, StoreSums{sums}, exec);
  const bool prelu = params.activation.kind == ActivationKind::prelu,
             shared_slope = prelu && params.activation.slope_count == 1;
  add_parameter_gradients_kernel<<<blocks_for(x.c), block_threads, 0, stream_of(exec)>>>(
      dgamma, dbeta, prelu && !shared_slope ? dslope : nullptr, sums, instances, x.c);
  check_launch();
  if (shared_slope) {
    add_shared_slope_gradient_kernel<<<1, block_threads, 0, stream_of(exec)>>>(dslope, sums, instances * x.c);
    check_launch();
  }
  dx_kernel<<<blocks_for(x.elements()), block_threads, 0, stream_of(exec)>>>(
      dx, dy, x, p, params.fixed_statistics ? nullptr : sums, static_cast<double>(voxels));
  check_launch();
}

void norm3d_update_running(float* running_mean, float* running_variance, const float* mean,
                           const float* variance, int64_t channels, int64_t count, float momentum,
                           const Exec& exec) {
  const float unbiased = static_cast<float>(static_cast<double>(count) / static_cast<double>(count - 1));
  update_running_kernel<<<blocks_for(channels), block_threads, 0, stream_of(exec)>>>(
      running_mean, running_variance, mean, variance, channels, unbiased, momentum);
  check_launch();
}

}  // namespace vg::kernels::cuda
