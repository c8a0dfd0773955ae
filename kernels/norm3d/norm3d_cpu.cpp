// Three passes over memory: statistics, apply, and backward in two (sums, then dx). All go by stretches of
// rows (kernels/norm3d/norm3d_stretch_cpu.h). The second of two passes over the same memory goes backwards:
// it finds in the cache what the first has left there.
#include <cmath>
#include <type_traits>

#include "kernels/activation/activation_vectors.h"
#include "kernels/common/stream.h"
#include "kernels/norm3d/norm3d_impl.h"
#include "kernels/norm3d/norm3d_stretch_cpu.h"

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

  // Before the activation, of x - mean: scale * x + (shift - scale * mean) would cancel badly where the mean
  // is large.
  VG_INLINE Vec normalised(Vec centred) const { return centred * scale + shift; }
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

// Where a group's statistics begin.
VG_INLINE int64_t group_offset(const View<const float>& x, const Norm3dParams& params, int64_t group) {
  return params.per_instance ? group * x.c : 0;
}

// A gradient, loaded whatever becomes of it: a compiler may else make its load wait for the relu's
// comparison, and two streams of memory come one after the other.
template <class Block>
VG_INLINE Vec load_ahead(const Block& block, const float* p) {
  Vec v = block.load(p);
#if defined(VG_ISA_avx512)
  asm("" : "+v"(v));
#endif
  return v;
}

// Sums that backward needs, [3][channels] per group: of dv = dy * act', of dv * xhat, and of dy * min(v, 0),
// which is the slope's gradient.
constexpr int64_t backward_sums = 3;

// Sums over a stretch of one block of channels.
template <class Act>
struct GradientSums {
  static constexpr bool has_slope = std::is_same_v<Act, Leaky>;
  Vec sum[2] = {}, product[2] = {}, slope[2] = {};

  VG_INLINE void add(int part, const BlockParameters& b, Vec gradient, Vec value) {
    const Vec centred = value - b.mean, v = b.normalised(centred), dv = Act::gradient(gradient, v, b.slope);
    sum[part] += dv;
    product[part] += dv * centred;
    if constexpr (has_slope) slope[part] += v <= 0.0f ? gradient * v : Vec{};
  }
  template <class Block>
  VG_INLINE void add_to_sums(double* sums, int64_t channels, const BlockParameters& b, const Block& block) {
    add_to(sums, sum[0] + sum[1], block);
    add_to(sums + channels, (product[0] + product[1]) * b.inverse_deviation, block);
    if constexpr (has_slope) add_to(sums + 2 * channels, slope[0] + slope[1], block);
  }
};

template <class Act>
void sum_gradients(double* sums, const View<const float>& dy, const View<const float>& x, const Parameters& p,
                   const Norm3dParams& params, Workspace& workspace) {
  const StretchGrid grid(x, params.per_instance);
  sum_stretches(sums, grid, backward_sums * x.c, workspace, [&](const Stretch& s, double* piece_sums) {
    const float *at_dy[most_stretch_voxels], *at_x[most_stretch_voxels];
    s.point(at_dy, dy);
    s.point(at_x, x);
    for_each_block(x.c, [&](auto block, int64_t c) {
      const BlockParameters b(block, p, group_offset(x, params, s.group), c);
      GradientSums<Act> total;
      for (int64_t row = 0; row < s.rows; ++row) {
        const float *g = at_dy[row] + c, *in = at_x[row] + c;
        int64_t i = 0;
        for (; i + 2 <= s.width; i += 2, g += 2 * dy.stride_w, in += 2 * x.stride_w) {
#pragma GCC unroll 2
          for (int part = 0; part < 2; ++part)
            total.add(part, b, load_ahead(block, g + part * dy.stride_w), block.load(in + part * x.stride_w));
        }
        if (i < s.width) total.add(0, b, load_ahead(block, g), block.load(in));
      }
      total.add_to_sums(piece_sums + c, x.c, b, block);
    });
  });
}

// dx = scale * (dv - mean(dv) - xhat * mean(dv * xhat)); `means` is [2][channels] per group.
template <class Act>
void write_dx(const View<float>& dx, const View<const float>& dy, const View<const float>& x,
              const Parameters& p, const float* means, const Norm3dParams& params) {
  // In place, dy's lines are in the cache anyway.
  const bool streamed = streams(dx) && dx.data != dy.data;
  for_each_stretch_backwards(StretchGrid(x, params.per_instance), [&](const Stretch& s) {
    const float *at_dy[most_stretch_voxels], *at_x[most_stretch_voxels];
    float* at_dx[most_stretch_voxels];
    s.point(at_dy, dy);
    s.point(at_x, x);
    s.point(at_dx, dx);
    const int64_t offset = group_offset(x, params, s.group);
    for_each_block(x.c, [&](auto block, int64_t c) {
      const BlockParameters b(block, p, offset, c);
      const Vec mean = b.scale * block.load(means + 2 * offset + c),
                share = b.scale * b.inverse_deviation * block.load(means + 2 * offset + x.c + c);
      for (int64_t row = 0; row < s.rows; ++row) {
        const float *g = at_dy[row] + c, *in = at_x[row] + c;
        float* out = at_dx[row] + c;
        for (int64_t i = 0; i < s.width; ++i, g += dy.stride_w, in += x.stride_w, out += dx.stride_w) {
          const Vec gradient = load_ahead(block, g), centred = block.load(in) - b.mean,
                    dv = Act::gradient(gradient, b.normalised(centred), b.slope),
                    value = b.scale * dv - (mean + share * centred);
          streamed ? stream(out, value) : block.store(out, value);
        }
      }
    });
    if (streamed) finish_streaming();
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
  sum_stretches(sums, StretchGrid(x, params.per_instance), 2 * x.c, *exec.workspace,
                [&](const Stretch& s, double* piece_sums) {
                  const float* at[most_stretch_voxels];
                  s.point(at, x);
                  for_each_block(x.c, [&](auto block, int64_t c) {
                    add_stretch_moments(piece_sums + c, piece_sums + x.c + c, at, c, s, x.stride_w, block);
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
    for_each_stretch_backwards(StretchGrid(x, params.per_instance), [&](const Stretch& s) {
      const float* at_x[most_stretch_voxels];
      float* at_y[most_stretch_voxels];
      s.point(at_x, x);
      s.point(at_y, y);
      for_each_block(x.c, [&](auto block, int64_t c) {
        const BlockParameters b(block, p, group_offset(x, params, s.group), c);
        for (int64_t row = 0; row < s.rows; ++row) {
          const float* in = at_x[row] + c;
          float* out = at_y[row] + c;
          for (int64_t i = 0; i < s.width; ++i, in += x.stride_w, out += y.stride_w) {
            const Vec value = act.value(b.normalised(block.load(in) - b.mean), b.slope);
            streamed ? stream(out, value) : block.store(out, value);
          }
        }
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
