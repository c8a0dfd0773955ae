// Three passes over memory: statistics, apply, and backward in two (sums, then dx). All go by strips of one
// row and one vector of channels (kernels/common/channel_blocks.h).
#include <cmath>

#include "kernels/activation/activation_vectors.h"
#include "kernels/common/channel_blocks.h"
#include "kernels/common/map.h"
#include "kernels/common/stream.h"
#include "kernels/norm3d/norm3d_impl.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// Everything per channel of one group; `gamma`, `beta` null without affine map.
struct Parameters {
  const float *mean, *inverse_deviation, *gamma, *beta, *slope;
  int64_t slope_count;
};

// The same for one block of channels, in registers.
struct BlockParameters {
  Vec mean, inverse_deviation, scale, shift, slope;

  template <class Block>
  VG_INLINE BlockParameters(const Block& block, const Parameters& p, int64_t group_offset, int64_t c)
      : mean(block.load(p.mean + group_offset + c)),
        inverse_deviation(block.load(p.inverse_deviation + group_offset + c)),
        scale(p.gamma == nullptr ? inverse_deviation : inverse_deviation * block.load(p.gamma + c)),
        shift(p.beta == nullptr ? Vec{} : block.load(p.beta + c)),
        slope(load_slopes(block, p.slope, p.slope_count, c)) {}

  // Before the activation. The mean goes first: scale * x + (shift - scale * mean) would cancel badly where
  // the mean is large.
  VG_INLINE Vec normalised(Vec x) const { return (x - mean) * scale + shift; }
};

// 1 / sqrt(variance + eps) of every group, in `scope`.
float* inverse_deviations(const float* variance, int64_t groups, float eps, WorkspaceScope& scope) {
  float* const inverse = scope.allocate<float>(static_cast<size_t>(groups));
  for (int64_t i = 0; i < groups; ++i)
    inverse[i] = static_cast<float>(1 / sqrt(static_cast<double>(variance[i]) + static_cast<double>(eps)));
  return inverse;
}

// Slopes as an array, whatever the kind; `constant` holds leaky_relu's.
void set_slopes(Parameters& p, const float* slope, const ActivationParams& activation, float& constant) {
  constant = activation.negative_slope;
  const bool learnt = activation.kind == ActivationKind::prelu;
  p.slope = learnt ? slope : &constant;
  p.slope_count = learnt ? activation.slope_count : 1;
}

// Where row `row` finds its group's statistics.
VG_INLINE int64_t group_offset(const View<const float>& x, const Norm3dParams& params, int64_t row) {
  return params.per_instance ? row / (x.d * x.h) * x.c : 0;
}

// Sums that backward needs, [3][channels] per group: of dv = dy * act', of dv * xhat, and of dy * min(v, 0),
// which is the slope's gradient.
constexpr int64_t backward_sums = 3;

template <class Act>
void sum_gradients(double* sums, const View<const float>& dy, const View<const float>& x, const Parameters& p,
                   const Norm3dParams& params, Workspace& workspace) {
  const int64_t groups = params.per_instance ? x.n : 1;
  sum_rows(sums, groups, x.rows() / groups, backward_sums * x.c, 0, workspace,
           [&](int64_t row, double* row_sums, float*) {
             const int64_t offset = group_offset(x, params, row);
             for_each_strip(x.w, [&](int64_t begin, int64_t count) {
               for_each_block(x.c, [&](auto block, int64_t c) {
                 const BlockParameters b(block, p, offset, c);
                 const float *g = pointer(dy, row, begin) + c, *in = pointer(x, row, begin) + c;
                 Vec sum{}, product{}, slope{};
                 for (int64_t i = 0; i < count; ++i, g += dy.stride_w, in += x.stride_w) {
                   const Vec gradient = block.load(g), value = block.load(in), v = b.normalised(value);
                   const Vec dv = Act::gradient(gradient, v, b.slope);
                   sum += dv;
                   product += dv * ((value - b.mean) * b.inverse_deviation);
                   slope += v <= 0.0f ? gradient * v : Vec{};
                 }
                 add_to(row_sums + c, sum, block);
                 add_to(row_sums + x.c + c, product, block);
                 add_to(row_sums + 2 * x.c + c, slope, block);
               });
             });
           });
}

// dx = scale * (dv - mean(dv) - xhat * mean(dv * xhat)); `means` is [2][channels] per group.
template <class Act>
void write_dx(const View<float>& dx, const View<const float>& dy, const View<const float>& x,
              const Parameters& p, const float* means, const Norm3dParams& params) {
  for_each_segment(dx, [&](int64_t row, int64_t first, int64_t voxels) {
    const int64_t offset = group_offset(x, params, row);
    for_each_strip(voxels, [&](int64_t begin, int64_t count) {
      for_each_block(x.c, [&](auto block, int64_t c) {
        const BlockParameters b(block, p, offset, c);
        const Vec mean_dv = block.load(means + 2 * offset + c),
                  mean_product = block.load(means + 2 * offset + x.c + c);
        const float *g = pointer(dy, row, first + begin) + c, *in = pointer(x, row, first + begin) + c;
        float* out = pointer(dx, row, first + begin) + c;
        for (int64_t i = 0; i < count; ++i, g += dy.stride_w, in += x.stride_w, out += dx.stride_w) {
          const Vec value = block.load(in), dv = Act::gradient(block.load(g), b.normalised(value), b.slope);
          const Vec xhat = (value - b.mean) * b.inverse_deviation;
          block.store(out, b.scale * (dv - mean_dv - xhat * mean_product));
        }
      });
    });
  });
}

void add_parameter_gradients(float* dgamma, float* dbeta, float* dslope, const double* sums, int64_t groups,
                             int64_t channels, const ActivationParams& activation) {
  double shared_slope = 0;
  for (int64_t c = 0; c < channels; ++c) {
    double sum[backward_sums] = {};
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t r = 0; r < backward_sums; ++r) sum[r] += sums[(group * backward_sums + r) * channels + c];
    }
    if (dbeta != nullptr) {
      dbeta[c] += static_cast<float>(sum[0]);
      dgamma[c] += static_cast<float>(sum[1]);
    }
    if (activation.kind == ActivationKind::prelu && activation.slope_count != 1)
      dslope[c] += static_cast<float>(sum[2]);
    shared_slope += sum[2];
  }
  if (activation.kind == ActivationKind::prelu && activation.slope_count == 1)
    dslope[0] += static_cast<float>(shared_slope);
}

}  // namespace

void norm3d_statistics(float* mean, float* variance, View<const float> x, const Norm3dParams& params,
                       const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const int64_t groups = params.per_instance ? x.n : 1;
  double* const sums = scope.allocate<double>(static_cast<size_t>(groups * 2 * x.c));
  sum_rows(sums, groups, x.rows() / groups, 2 * x.c, 0, *exec.workspace,
           [&](int64_t row, double* row_sums, float*) {
             for_each_strip(x.w, [&](int64_t begin, int64_t count) {
               for_each_block(x.c, [&](auto block, int64_t c) {
                 add_moments(row_sums + c, row_sums + x.c + c, pointer(x, row, begin) + c, count, x.stride_w,
                             block);
               });
             });
           });
  const double count = static_cast<double>(x.voxels() / groups);
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t c = 0; c < x.c; ++c) {
      finish_moments(mean + group * x.c + c, variance + group * x.c + c, sums[2 * group * x.c + c],
                     sums[(2 * group + 1) * x.c + c], count);
    }
  }
}

void norm3d_apply(View<float> y, View<const float> x, const float* mean, const float* variance,
                  const float* gamma, const float* beta, const float* slope, const Norm3dParams& params,
                  const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  float constant_slope;
  Parameters p{mean,    inverse_deviations(variance, norm3d_groups(x.n, x.c, params), params.eps, scope),
               gamma,   beta,
               nullptr, 1};
  set_slopes(p, slope, params.activation, constant_slope);
  const bool streamed = streams(y);
  with_activation(params.activation.kind, [&](auto act) {
    for_each_segment(y, [&](int64_t row, int64_t first, int64_t voxels) {
      const int64_t offset = group_offset(x, params, row);
      for_each_strip(voxels, [&](int64_t begin, int64_t count) {
        for_each_block(x.c, [&](auto block, int64_t c) {
          const BlockParameters b(block, p, offset, c);
          const float* in = pointer(x, row, first + begin) + c;
          float* out = pointer(y, row, first + begin) + c;
          for (int64_t i = 0; i < count; ++i, in += x.stride_w, out += y.stride_w) {
            const Vec value = act.value(b.normalised(block.load(in)), b.slope);
            streamed ? stream(out, value) : block.store(out, value);
          }
        });
      });
      if (streamed) finish_streaming();
    });
  });
}

void norm3d_backward(View<float> dx, float* dgamma, float* dbeta, float* dslope, View<const float> dy,
                     View<const float> x, const float* mean, const float* variance, const float* gamma,
                     const float* beta, const float* slope, const Norm3dParams& params, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const int64_t groups = params.per_instance ? x.n : 1;
  float constant_slope;
  Parameters p{mean, inverse_deviations(variance, groups * x.c, params.eps, scope), gamma, beta, nullptr, 1};
  set_slopes(p, slope, params.activation, constant_slope);
  double* const sums = scope.allocate<double>(static_cast<size_t>(groups * backward_sums * x.c));
  float* const means = scope.allocate<float>(static_cast<size_t>(groups * 2 * x.c));
  const double count = static_cast<double>(x.voxels() / groups);
  with_activation(params.activation.kind, [&](auto act) {
    sum_gradients<decltype(act)>(sums, dy, x, p, params, *exec.workspace);
    add_parameter_gradients(dgamma, dbeta, dslope, sums, groups, x.c, params.activation);
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t i = 0; i < 2 * x.c; ++i) {
        const double of_group = sums[group * backward_sums * x.c + i] / count;
        means[group * 2 * x.c + i] = params.fixed_statistics ? 0.0f : static_cast<float>(of_group);
      }
    }
    write_dx<decltype(act)>(dx, dy, x, p, means, params);
  });
}

void norm3d_update_running(float* running_mean, float* running_variance, const float* mean,
                           const float* variance, int64_t channels, int64_t count, float momentum,
                           const Exec&) {
  const float unbiased = static_cast<float>(static_cast<double>(count) / static_cast<double>(count - 1));
  for (int64_t c = 0; c < channels; ++c) {
    running_mean[c] += momentum * (mean[c] - running_mean[c]);
    running_variance[c] += momentum * (variance[c] * unbiased - running_variance[c]);
  }
}

}  // namespace vg::kernels::cpu::VG_ISA
