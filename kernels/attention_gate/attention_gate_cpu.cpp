// Passes over memory: forward three (statistics of the two convolutions, statistics of psi, output; the last
// two in one with given statistics), backward three (sums for psi, sums for the branches, gradients). Each
// goes by strips of at most 64 voxels and computes the two convolutions of its strip anew, into scratch that
// stays in the L1 or L2 cache: that costs less than writing and reading them.
#include <cmath>

#include "kernels/attention_gate/attention_gate_impl.h"
#include "kernels/common/channel_blocks.h"
#include "kernels/common/map.h"
#include "kernels/common/simd_math.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

/// Voxels whose accumulators are in registers at once: enough to hide the latency of a multiply-add.
constexpr int voxel_group = 8;

int64_t padded(int64_t channels) {
  return (channels + lanes - 1) / lanes * lanes;
}

/// One convolution with its batch norm. F = intermediate channels; arrays are padded with zeros to whole
/// vectors, so that the padding contributes zeros everywhere.
struct Branch {
  View<const float> input;
  float* columns;                                          ///< weights as [input channels][padded F]
  float* rows;                                             ///< weights as [F][padded input channels]
  float *bias, *mean, *inverse_deviation, *scale, *shift;  ///< [padded F]; scale = gamma / deviation
};

/// What every pass needs.
struct Gate {
  Branch branch[2];   ///< of g, of x
  float* weight_psi;  ///< [padded F]
  float bias_psi, mean_psi, inverse_deviation_psi, gamma_psi, beta_psi;
  int64_t intermediate, stride;  ///< F, padded F

  View<const float> x() const { return branch[1].input; }
  /// Floats of a strip's scratch: both branches, and two numbers a voxel.
  int64_t scratch_length() const { return strip_voxels * (2 * stride + 2); }
};

float* padded_copy(const float* values, int64_t count, WorkspaceScope& scope) {
  float* const copy = scope.allocate<float>(static_cast<size_t>(padded(count)));
  for (int64_t i = 0; i < padded(count); ++i) copy[i] = i < count ? values[i] : 0;
  return copy;
}

float inverse_deviation_of(float variance, float eps) {
  return static_cast<float>(1 / sqrt(static_cast<double>(variance) + static_cast<double>(eps)));
}

Branch pack_branch(View<const float> input, int64_t intermediate, const float* weight, const float* bias,
                   WorkspaceScope& scope) {
  const int64_t stride = padded(intermediate), row = padded(input.c);
  Branch b{};
  b.input = input;
  b.columns = scope.allocate<float>(static_cast<size_t>(input.c * stride));
  b.rows = scope.allocate<float>(static_cast<size_t>(intermediate * row));
  std::memset(b.columns, 0, static_cast<size_t>(input.c * stride) * sizeof(float));
  std::memset(b.rows, 0, static_cast<size_t>(intermediate * row) * sizeof(float));
  for (int64_t f = 0; f < intermediate; ++f) {
    for (int64_t c = 0; c < input.c; ++c)
      b.columns[c * stride + f] = b.rows[f * row + c] = weight[f * input.c + c];
  }
  b.bias = padded_copy(bias, intermediate, scope);
  return b;
}

void set_statistics(Branch& b, const float* mean, const float* variance, const float* gamma,
                    const float* beta, int64_t intermediate, float eps, WorkspaceScope& scope) {
  b.mean = padded_copy(mean, intermediate, scope);
  b.shift = padded_copy(beta, intermediate, scope);
  b.scale = padded_copy(gamma, intermediate, scope);
  b.inverse_deviation = padded_copy(variance, intermediate, scope);
  for (int64_t f = 0; f < intermediate; ++f) {
    b.inverse_deviation[f] = inverse_deviation_of(variance[f], eps);
    b.scale[f] *= b.inverse_deviation[f];
  }
}

void set_branch_statistics(Gate& gate, const AttentionGateStatistics& s, const AttentionGateWeights& w,
                           const AttentionGateParams& params, WorkspaceScope& scope) {
  const int64_t count = gate.intermediate;
  set_statistics(gate.branch[0], s.mean_g, s.variance_g, w.gamma_g, w.beta_g, count, params.eps, scope);
  set_statistics(gate.branch[1], s.mean_x, s.variance_x, w.gamma_x, w.beta_x, count, params.eps, scope);
}

void set_psi_statistics(Gate& gate, const AttentionGateStatistics& s, const AttentionGateParams& params) {
  gate.mean_psi = s.mean_psi[0];
  gate.inverse_deviation_psi = inverse_deviation_of(s.variance_psi[0], params.eps);
}

Gate pack_gate(View<const float> g, View<const float> x, const AttentionGateWeights& w,
               const AttentionGateParams& params, WorkspaceScope& scope) {
  Gate gate{};
  gate.intermediate = params.intermediate_channels;
  gate.stride = padded(gate.intermediate);
  gate.branch[0] = pack_branch(g, gate.intermediate, w.weight_g, w.bias_g, scope);
  gate.branch[1] = pack_branch(x, gate.intermediate, w.weight_x, w.bias_x, scope);
  gate.weight_psi = padded_copy(w.weight_psi, gate.intermediate, scope);
  gate.bias_psi = w.bias_psi[0];
  gate.gamma_psi = w.gamma_psi[0];
  gate.beta_psi = w.beta_psi[0];
  return gate;
}

// out[v][c] = init(v, block, c) + sum over k < inner of in[v * in_stride + k] * weights[k * stride + c], for
// `Voxels` voxels from v on and all blocks of `columns` channels; write(v, block, c, value) takes it.
template <int Voxels, class Init, class Write>
VG_INLINE void multiply_group(int64_t v, const float* in, int64_t in_stride, int64_t inner,
                              const float* weights, int64_t stride, int64_t columns, const Init& init,
                              const Write& write) {
  for_each_block(columns, [&](auto block, int64_t c) {
    Vec sums[Voxels];
#pragma GCC unroll 8
    for (int i = 0; i < Voxels; ++i) sums[i] = init(v + i, block, c);
    for (int64_t k = 0; k < inner; ++k) {
      const Vec weight = load(weights + k * stride + c);
#pragma GCC unroll 8
      for (int i = 0; i < Voxels; ++i) sums[i] += weight * in[(v + i) * in_stride + k];
    }
#pragma GCC unroll 8
    for (int i = 0; i < Voxels; ++i) write(v + i, block, c, sums[i]);
  });
}

template <class Init, class Write>
VG_INLINE void multiply_strip(int64_t voxels, const float* in, int64_t in_stride, int64_t inner,
                              const float* weights, int64_t stride, int64_t columns, const Init& init,
                              const Write& write) {
  int64_t v = 0;
  for (; v + voxel_group <= voxels; v += voxel_group)
    multiply_group<voxel_group>(v, in, in_stride, inner, weights, stride, columns, init, write);
  for (; v < voxels; ++v) multiply_group<1>(v, in, in_stride, inner, weights, stride, columns, init, write);
}

// A strip's scratch: the two convolutions, before their batch norms, as [voxels][padded F].
struct Strip {
  int64_t row, first, voxels;
  float* convolved[2];
  float *a, *b;  // [strip_voxels] each: at the pass's disposal

  Strip(const Gate& gate, int64_t row_, int64_t first_, int64_t voxels_, float* scratch)
      : row(row_),
        first(first_),
        voxels(voxels_),
        convolved{scratch, scratch + strip_voxels * gate.stride},
        a(scratch + 2 * strip_voxels * gate.stride),
        b(a + strip_voxels) {}
};

VG_INLINE void convolve(const Gate& gate, const Strip& strip) {
  for (int side = 0; side < 2; ++side) {
    const Branch& b = gate.branch[side];
    float* const out = strip.convolved[side];
    multiply_strip(
        strip.voxels, pointer(b.input, strip.row, strip.first), b.input.stride_w, b.input.c, b.columns,
        gate.stride, gate.stride, [&](int64_t, auto block, int64_t f) { return block.load(b.bias + f); },
        [&](int64_t v, auto block, int64_t f, Vec sum) { block.store(out + v * gate.stride + f, sum); });
  }
}

// The parameters of one vector of intermediate channels, in registers.
struct HiddenParameters {
  Vec mean[2], inverse_deviation[2], scale[2], shift, weight_psi;
  VG_INLINE HiddenParameters(const Gate& gate, int64_t f)
      : mean{load(gate.branch[0].mean + f), load(gate.branch[1].mean + f)},
        inverse_deviation{load(gate.branch[0].inverse_deviation + f),
                          load(gate.branch[1].inverse_deviation + f)},
        scale{load(gate.branch[0].scale + f), load(gate.branch[1].scale + f)},
        shift(load(gate.branch[0].shift + f) + load(gate.branch[1].shift + f)),
        weight_psi(load(gate.weight_psi + f)) {}

  // Before the relu.
  VG_INLINE Vec hidden(Vec of_g, Vec of_x) const {
    return (of_g - mean[0]) * scale[0] + (of_x - mean[1]) * scale[1] + shift;
  }
};

// out[v] = w_psi . relu(hidden) + b_psi.
VG_INLINE void psi_before_norm(const Gate& gate, const Strip& strip, float* out) {
  for (int64_t v = 0; v < strip.voxels; ++v) out[v] = gate.bias_psi;
  for (int64_t f = 0; f < gate.stride; f += lanes) {
    const HiddenParameters p(gate, f);
    for (int64_t v = 0; v < strip.voxels; ++v) {
      const int64_t at = v * gate.stride + f;
      const Vec h = p.hidden(load(strip.convolved[0] + at), load(strip.convolved[1] + at));
      out[v] += horizontal_sum((h <= 0.0f ? Vec{} : h) * p.weight_psi);
    }
  }
}

// psi = sigmoid(norm(before)) and y = x * psi for `voxels` voxels of a row. `before` and `values` are strips
// of floats; the rest of their last vector is scratch.
VG_INLINE void write_output(const Gate& gate, int64_t row, int64_t first, int64_t voxels, const float* before,
                            float* values, const View<float>& y, const View<float>& psi) {
  const Vec scale = broadcast(gate.inverse_deviation_psi * gate.gamma_psi);
  for (int64_t v = 0; v < voxels; v += lanes)
    store(values + v, sigmoid((load(before + v) - gate.mean_psi) * scale + gate.beta_psi));
  const View<const float> x = gate.x();
  for (int64_t v = 0; v < voxels; ++v) {
    *pointer(psi, row, first + v) = values[v];
    const float* const in = pointer(x, row, first + v);
    float* const out = pointer(y, row, first + v);
    for_each_block(x.c, [&](auto block, int64_t c) { block.store(out + c, block.load(in + c) * values[v]); });
  }
}

// Calls body(strip, sums) for all strips and adds up what it adds to sums[length].
template <class Body>
void for_each_gate_strip(const Gate& gate, double* sums, int64_t length, Workspace& workspace,
                         const Body& body) {
  const View<const float> x = gate.x();
  sum_rows(sums, 1, x.rows(), length, gate.scratch_length(), workspace,
           [&](int64_t row, double* row_sums, float* scratch) {
             for_each_strip(x.w, [&](int64_t first, int64_t voxels) {
               const Strip strip(gate, row, first, voxels, scratch);
               convolve(gate, strip);
               body(strip, row_sums);
             });
           });
}

void branch_statistics(const Gate& gate, const AttentionGateStatistics& s, Workspace& workspace) {
  WorkspaceScope scope(workspace);
  const int64_t stride = gate.stride;
  double* const sums = scope.allocate<double>(static_cast<size_t>(4 * stride));
  for_each_gate_strip(gate, sums, 4 * stride, workspace, [&](const Strip& strip, double* strip_sums) {
    for (int side = 0; side < 2; ++side) {
      for (int64_t f = 0; f < stride; f += lanes)
        add_moments(strip_sums + 2 * side * stride + f, strip_sums + (2 * side + 1) * stride + f,
                    strip.convolved[side] + f, strip.voxels, stride, FullBlock{});
    }
  });
  const double count = static_cast<double>(gate.x().voxels());
  for (int64_t f = 0; f < gate.intermediate; ++f) {
    finish_moments(s.mean_g + f, s.variance_g + f, sums[f], sums[stride + f], count);
    finish_moments(s.mean_x + f, s.variance_x + f, sums[2 * stride + f], sums[3 * stride + f], count);
  }
}

// Leaves what the sigmoid's batch norm will get in `psi`.
void psi_statistics(const Gate& gate, const AttentionGateStatistics& s, const View<float>& psi,
                    Workspace& workspace) {
  double sums[2];
  for_each_gate_strip(gate, sums, 2, workspace, [&](const Strip& strip, double* strip_sums) {
    psi_before_norm(gate, strip, strip.a);
    for (int64_t v = 0; v < strip.voxels; ++v) {
      *pointer(psi, strip.row, strip.first + v) = strip.a[v];
      const double value = static_cast<double>(strip.a[v]);
      strip_sums[0] += value;
      strip_sums[1] += value * value;
    }
  });
  finish_moments(s.mean_psi, s.variance_psi, sums[0], sums[1], static_cast<double>(psi.voxels()));
}

// Backward, first pass. dz = d loss / d (the sigmoid's argument) and the psi batch norm's normalised input go
// to [voxels] arrays; sums: of dz, of dz * normalised.
struct PsiGradient {
  float *dz, *normalised;
  double sums[2];
};

void psi_gradient(const Gate& gate, PsiGradient& gradient, const View<const float>& dy,
                  const View<const float>& psi, Workspace& workspace) {
  const View<const float> x = gate.x();
  for_each_gate_strip(gate, gradient.sums, 2, workspace, [&](const Strip& strip, double* strip_sums) {
    psi_before_norm(gate, strip, strip.a);
    float sum = 0, product = 0;
    for (int64_t v = 0; v < strip.voxels; ++v) {
      const int64_t w = strip.first + v;
      const float *const u = pointer(dy, strip.row, w), *const in = pointer(x, strip.row, w);
      Vec dot{};
      for_each_block(x.c, [&](auto block, int64_t c) { dot += block.load(u + c) * block.load(in + c); });
      const float coefficient = *pointer(psi, strip.row, w);
      const float dz = horizontal_sum(dot) * coefficient * (1 - coefficient);
      const float normalised = (strip.a[v] - gate.mean_psi) * gate.inverse_deviation_psi;
      gradient.dz[strip.row * x.w + w] = dz;
      gradient.normalised[strip.row * x.w + w] = normalised;
      sum += dz;
      product += dz * normalised;
    }
    strip_sums[0] += static_cast<double>(sum);
    strip_sums[1] += static_cast<double>(product);
  });
}

// ds[v] = d loss / d (w_psi . relu(hidden) + b_psi), from what the first pass found.
VG_INLINE void psi_input_gradient(const Gate& gate, const PsiGradient& gradient, const Strip& strip,
                                  bool fixed, float* ds) {
  const double count = static_cast<double>(gate.x().voxels());
  const float mean = fixed ? 0.0f : static_cast<float>(gradient.sums[0] / count),
              mean_product = fixed ? 0.0f : static_cast<float>(gradient.sums[1] / count);
  const float scale = gate.gamma_psi * gate.inverse_deviation_psi;
  const int64_t first = strip.row * gate.x().w + strip.first;
  for (int64_t v = 0; v < strip.voxels; ++v)
    ds[v] = scale * (gradient.dz[first + v] - mean - gradient.normalised[first + v] * mean_product);
}

// Second pass: sums over voxels of, per intermediate channel, dh, dh * normalised g, dh * normalised x and
// ds * h, [4][padded F], then the sum of ds. dh = d loss / d hidden, which both batch norms get.
constexpr int64_t hidden_sums = 4;

void hidden_gradient(const Gate& gate, const PsiGradient& gradient, double* sums, bool fixed,
                     Workspace& workspace) {
  const int64_t stride = gate.stride;
  for_each_gate_strip(gate, sums, hidden_sums * stride + 1, workspace,
                      [&](const Strip& strip, double* strip_sums) {
                        float* const ds = strip.a;
                        psi_input_gradient(gate, gradient, strip, fixed, ds);
                        for (int64_t f = 0; f < stride; f += lanes) {
                          const HiddenParameters p(gate, f);
                          Vec total[hidden_sums] = {};
                          for (int64_t v = 0; v < strip.voxels; ++v) {
                            const Vec of_g = load(strip.convolved[0] + v * stride + f),
                                      of_x = load(strip.convolved[1] + v * stride + f);
                            const Vec h = p.hidden(of_g, of_x);
                            const Vec dh = h <= 0.0f ? Vec{} : p.weight_psi * ds[v];
                            total[0] += dh;
                            total[1] += dh * ((of_g - p.mean[0]) * p.inverse_deviation[0]);
                            total[2] += dh * ((of_x - p.mean[1]) * p.inverse_deviation[1]);
                            total[3] += (h <= 0.0f ? Vec{} : h) * ds[v];
                          }
                          for (int64_t r = 0; r < hidden_sums; ++r)
                            add_to(strip_sums + r * stride + f, total[r], FullBlock{});
                        }
                        float sum = 0;
                        for (int64_t v = 0; v < strip.voxels; ++v) sum += ds[v];
                        strip_sums[hidden_sums * stride] += static_cast<double>(sum);
                      });
}

// Third pass. Turns the strip's convolutions into the gradients of the convolutions' outputs, in place, and
// adds these up; `means` is [3][padded F]: the second pass's first three sums over the number of voxels.
VG_INLINE void convolution_gradients(const Gate& gate, const Strip& strip, const float* ds,
                                     const float* means, double* sums) {
  const int64_t stride = gate.stride;
  for (int64_t f = 0; f < stride; f += lanes) {
    const HiddenParameters p(gate, f);
    const Vec mean = load(means + f), mean_g = load(means + stride + f),
              mean_x = load(means + 2 * stride + f);
    Vec total[2] = {};
    for (int64_t v = 0; v < strip.voxels; ++v) {
      float *const at_g = strip.convolved[0] + v * stride + f, *const at_x =
                                                                   strip.convolved[1] + v * stride + f;
      const Vec of_g = load(at_g), of_x = load(at_x);
      const Vec dh = (p.hidden(of_g, of_x) <= 0.0f ? Vec{} : p.weight_psi * ds[v]) - mean;
      const Vec gradient_g = p.scale[0] * (dh - (of_g - p.mean[0]) * p.inverse_deviation[0] * mean_g);
      const Vec gradient_x = p.scale[1] * (dh - (of_x - p.mean[1]) * p.inverse_deviation[1] * mean_x);
      total[0] += gradient_g;
      total[1] += gradient_x;
      store(at_g, gradient_g);
      store(at_x, gradient_x);
    }
    add_to(sums + f, total[0], FullBlock{});
    add_to(sums + stride + f, total[1], FullBlock{});
  }
}

// sums[f][padded channels] += sum over the strip of gradient[v][f] * input[v][c], `Rows` values of f at once.
template <int Rows>
VG_INLINE void add_outer_products(double* sums, const Strip& strip, const float* gradient, int64_t stride,
                                  const View<const float>& input) {
  const float* const in = pointer(input, strip.row, strip.first);
  const int64_t row = padded(input.c);
  for_each_block(input.c, [&](auto block, int64_t c) {
    Vec total[Rows] = {};
    for (int64_t v = 0; v < strip.voxels; ++v) {
      const Vec value = block.load(in + v * input.stride_w + c);
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) total[i] += value * gradient[v * stride + i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) add_to(sums + i * row + c, total[i], block);
  });
}

// Third pass: dg, dx, and sums [padded F] of either branch's gradient, [F][padded channels] of either's
// weights.
void input_gradients(const Gate& gate, const PsiGradient& gradient, const float* means, double* sums,
                     int64_t length, const View<float>& dg, const View<float>& dx,
                     const View<const float>& dy, const View<const float>& psi, bool fixed,
                     Workspace& workspace) {
  const int64_t stride = gate.stride;
  for_each_gate_strip(gate, sums, length, workspace, [&](const Strip& strip, double* strip_sums) {
    float* const ds = strip.a;
    psi_input_gradient(gate, gradient, strip, fixed, ds);
    convolution_gradients(gate, strip, ds, means, strip_sums);
    double* weight_sums = strip_sums + 2 * stride;
    for (int side = 0; side < 2; ++side) {
      const Branch& b = gate.branch[side];
      const int64_t row = padded(b.input.c);
      const float* const g = strip.convolved[side];
      int64_t f = 0;
      for (; f + voxel_group <= gate.intermediate; f += voxel_group)
        add_outer_products<voxel_group>(weight_sums + f * row, strip, g + f, stride, b.input);
      for (; f < gate.intermediate; ++f)
        add_outer_products<1>(weight_sums + f * row, strip, g + f, stride, b.input);
      weight_sums += gate.intermediate * row;
    }
    multiply_strip(
        strip.voxels, strip.convolved[0], stride, gate.intermediate, gate.branch[0].rows, padded(dg.c), dg.c,
        [](int64_t, auto, int64_t) { return Vec{}; },
        [&](int64_t v, auto block, int64_t c, Vec sum) {
          block.store(pointer(dg, strip.row, strip.first + v) + c, sum);
        });
    multiply_strip(
        strip.voxels, strip.convolved[1], stride, gate.intermediate, gate.branch[1].rows, padded(dx.c), dx.c,
        [&](int64_t v, auto block, int64_t c) {
          const int64_t w = strip.first + v;
          return block.load(pointer(dy, strip.row, w) + c) * *pointer(psi, strip.row, w);
        },
        [&](int64_t v, auto block, int64_t c, Vec sum) {
          block.store(pointer(dx, strip.row, strip.first + v) + c, sum);
        });
  });
}

void add_sums(float* gradient, const double* sums, int64_t count) {
  for (int64_t i = 0; i < count; ++i) gradient[i] += static_cast<float>(sums[i]);
}

void add_weight_gradients(float* weight, const double* sums, int64_t intermediate, int64_t channels) {
  for (int64_t f = 0; f < intermediate; ++f)
    add_sums(weight + f * channels, sums + f * padded(channels), channels);
}

}  // namespace

void attention_gate_forward(View<float> y, View<float> psi, const AttentionGateStatistics& statistics,
                            View<const float> g, View<const float> x, const AttentionGateWeights& weights,
                            const AttentionGateParams& params, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  Gate gate = pack_gate(g, x, weights, params, scope);
  if (!params.fixed_statistics) branch_statistics(gate, statistics, *exec.workspace);
  set_branch_statistics(gate, statistics, weights, params, scope);
  if (params.fixed_statistics) {
    set_psi_statistics(gate, statistics, params);
    for_each_gate_strip(gate, nullptr, 0, *exec.workspace, [&](const Strip& strip, double*) {
      psi_before_norm(gate, strip, strip.a);
      write_output(gate, strip.row, strip.first, strip.voxels, strip.a, strip.b, y, psi);
    });
    return;
  }
  psi_statistics(gate, statistics, psi, *exec.workspace);
  set_psi_statistics(gate, statistics, params);
  for_each_segment(y, [&](int64_t row, int64_t first, int64_t voxels) {
    for_each_strip(voxels, [&](int64_t begin, int64_t count) {
      float before[strip_voxels] = {}, values[strip_voxels];
      for (int64_t v = 0; v < count; ++v) before[v] = *pointer(psi, row, first + begin + v);
      write_output(gate, row, first + begin, count, before, values, y, psi);
    });
  });
}

void attention_gate_backward(View<float> dg, View<float> dx, const AttentionGateGradients& gradients,
                             View<const float> dy, View<const float> psi,
                             const AttentionGateStatistics& statistics, View<const float> g,
                             View<const float> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  Gate gate = pack_gate(g, x, weights, params, scope);
  set_branch_statistics(gate, statistics, weights, params, scope);
  set_psi_statistics(gate, statistics, params);
  const int64_t intermediate = gate.intermediate, stride = gate.stride;
  const bool fixed = params.fixed_statistics;

  PsiGradient gradient{scope.allocate<float>(static_cast<size_t>(x.voxels())),
                       scope.allocate<float>(static_cast<size_t>(x.voxels())),
                       {}};
  psi_gradient(gate, gradient, dy, psi, *exec.workspace);
  add_sums(gradients.beta_psi, gradient.sums, 1);
  add_sums(gradients.gamma_psi, gradient.sums + 1, 1);

  double* const hidden = scope.allocate<double>(static_cast<size_t>(hidden_sums * stride + 1));
  hidden_gradient(gate, gradient, hidden, fixed, *exec.workspace);
  add_sums(gradients.beta_g, hidden, intermediate);
  add_sums(gradients.beta_x, hidden, intermediate);
  add_sums(gradients.gamma_g, hidden + stride, intermediate);
  add_sums(gradients.gamma_x, hidden + 2 * stride, intermediate);
  add_sums(gradients.weight_psi, hidden + 3 * stride, intermediate);
  add_sums(gradients.bias_psi, hidden + hidden_sums * stride, 1);

  float* const means = scope.allocate<float>(static_cast<size_t>(3 * stride));
  for (int64_t i = 0; i < 3 * stride; ++i)
    means[i] = fixed ? 0.0f : static_cast<float>(hidden[i] / static_cast<double>(x.voxels()));
  const int64_t weights_g = intermediate * padded(g.c),
                length = 2 * stride + weights_g + intermediate * padded(x.c);
  double* const sums = scope.allocate<double>(static_cast<size_t>(length));
  input_gradients(gate, gradient, means, sums, length, dg, dx, dy, psi, fixed, *exec.workspace);
  add_sums(gradients.bias_g, sums, intermediate);
  add_sums(gradients.bias_x, sums + stride, intermediate);
  add_weight_gradients(gradients.weight_g, sums + 2 * stride, intermediate, g.c);
  add_weight_gradients(gradients.weight_x, sums + 2 * stride + weights_g, intermediate, x.c);
}

}  // namespace vg::kernels::cpu::VG_ISA
