// Passes over memory: forward three (statistics of the two convolutions, psi before its norm with its
// statistics, output; the last two in one with given statistics), backward two (all sums, then gradients).
// Each goes by strips and computes the two convolutions of its strip anew, into scratch that stays in the
// cache: that costs less than writing and reading them. Norms are folded into the convolutions' weights as
// soon as their statistics are known.
#include <cmath>

#include "kernels/attention_gate/attention_gate_impl.h"
#include "kernels/attention_gate/attention_gate_strip_cpu.h"
#include "kernels/common/simd_math.h"
#include "kernels/common/stream.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

/// Values that one broadcast each is multiplied with at once: hides the latency of a multiply-add.
constexpr int group = 8;

int64_t padded(int64_t channels) {
  return (channels + lanes - 1) / lanes * lanes;
}

double inverse_deviation_of(float variance, float eps) {
  return 1 / sqrt(static_cast<double>(variance) + static_cast<double>(eps));
}

/// A convolution's weights (F, channels) and bias [F].
struct Product {
  const float *weights, *bias;
};

/// One of the two convolutions with its batch norm.
struct Branch {
  View<const float> input;
  Product convolution;
  const float *gamma, *beta, *mean, *variance;
};

struct Gate {
  Branch branch[2];  ///< of g, of x
  const float* weight_psi;
  float bias_psi, gamma_psi, beta_psi, eps;
  int64_t intermediate;  ///< F
  StripGrid grid;

  const View<const float>& x() const { return branch[1].input; }
  int64_t inputs() const { return branch[0].input.c + branch[1].input.c; }
  double voxels() const { return static_cast<double>(x().voxels()); }
  /// Floats of a strip's scratch: both inputs, both products, and rows of numbers per voxel.
  int64_t scratch_length() const { return grid.stride() * (inputs() + 2 * intermediate + 4); }
};

Gate make_gate(View<const float> g, View<const float> x, const AttentionGateStatistics& s,
               const AttentionGateWeights& w, const AttentionGateParams& params) {
  return {{{g, {w.weight_g, w.bias_g}, w.gamma_g, w.beta_g, s.mean_g, s.variance_g},
           {x, {w.weight_x, w.bias_x}, w.gamma_x, w.beta_x, s.mean_x, s.variance_x}},
          w.weight_psi,
          w.bias_psi[0],
          w.gamma_psi[0],
          w.beta_psi[0],
          params.eps,
          params.intermediate_channels,
          StripGrid(x)};
}

// The batch norm of psi: z = (s - mean) * inverse_deviation * gamma + beta.
struct PsiNorm {
  float mean, inverse_deviation, gamma, beta;
  PsiNorm(const Gate& gate, const AttentionGateStatistics& s)
      : mean(s.mean_psi[0]),
        inverse_deviation(static_cast<float>(inverse_deviation_of(s.variance_psi[0], gate.eps))),
        gamma(gate.gamma_psi),
        beta(gate.beta_psi) {}
  VG_INLINE Vec normalised(Vec s) const { return (s - mean) * inverse_deviation; }
};

// Convolutions that give normalised values: weights / deviation, (bias - mean) / deviation.
void normalise(Product& product, const Branch& b, int64_t intermediate, float eps, WorkspaceScope& scope) {
  float* const weights = scope.allocate<float>(static_cast<size_t>(intermediate * b.input.c));
  float* const bias = scope.allocate<float>(static_cast<size_t>(intermediate));
  for (int64_t f = 0; f < intermediate; ++f) {
    const double r = inverse_deviation_of(b.variance[f], eps);
    for (int64_t i = f * b.input.c; i < (f + 1) * b.input.c; ++i)
      weights[i] = static_cast<float>(r * static_cast<double>(b.convolution.weights[i]));
    bias[f] =
        static_cast<float>(r * (static_cast<double>(b.convolution.bias[f]) - static_cast<double>(b.mean[f])));
  }
  product = {weights, bias};
}

// One convolution of g and x together whose result is the relu's input: weights (F, channels of g and x).
Product fold_norms(const Gate& gate, WorkspaceScope& scope) {
  const int64_t inputs = gate.inputs();
  float* const weights = scope.allocate<float>(static_cast<size_t>(gate.intermediate * inputs));
  float* const bias = scope.allocate<float>(static_cast<size_t>(gate.intermediate));
  for (int64_t f = 0; f < gate.intermediate; ++f) {
    float* row = weights + f * inputs;
    double sum = 0;
    for (const Branch& b : gate.branch) {
      const double scale = inverse_deviation_of(b.variance[f], gate.eps) * static_cast<double>(b.gamma[f]);
      for (int64_t c = 0; c < b.input.c; ++c)
        *row++ = static_cast<float>(scale * static_cast<double>(b.convolution.weights[f * b.input.c + c]));
      sum += scale * (static_cast<double>(b.convolution.bias[f]) - static_cast<double>(b.mean[f])) +
             static_cast<double>(b.beta[f]);
    }
    bias[f] = static_cast<float>(sum);
  }
  return {weights, bias};
}

// A strip with its inputs in scratch, rows of `stride` floats: channels of g, channels of x.
struct Strip : VoxelStrip {
  int64_t stride;
  const float *g[most_strip_voxels], *x[most_strip_voxels];
  float *inputs, *products, *rows;  ///< products: two of F rows; rows: four, at the pass's disposal

  Strip(const Gate& gate, const VoxelStrip& strip, float* scratch)
      : VoxelStrip(strip),
        stride(gate.grid.stride()),
        inputs(scratch),
        products(scratch + gate.inputs() * stride),
        rows(products + 2 * gate.intermediate * stride) {
    load_inputs(gate, 0, g, inputs);
    load_inputs(gate, 1, x, inputs + gate.branch[0].input.c * stride);
  }

  void load_inputs(const Gate& gate, int side, const float** at, float* to) const {
    const View<const float>& input = gate.branch[side].input;
    const float* ahead[most_strip_voxels];
    point(at, input);
    gate.grid.strip_after(*this).point(ahead, input);
    transpose_channels(to, stride, at, ahead, input.c, vectors());
  }

  /// Products of g and of x with their own weights.
  void multiply(const Gate& gate, const Product& of_g, const Product& of_x) const {
    const int64_t channels = gate.branch[0].input.c, f = gate.intermediate;
    multiply_strip(products, inputs, stride, vectors(), of_g.weights, of_g.bias, channels, f);
    multiply_strip(products + f * stride, inputs + channels * stride, stride, vectors(), of_x.weights,
                   of_x.bias, gate.branch[1].input.c, f);
  }
};

// Calls body(strip, sums) for all strips and adds up what it adds to sums[length].
template <class Body>
void for_each_gate_strip(const Gate& gate, double* sums, int64_t length, Workspace& workspace,
                         const Body& body) {
  sum_rows(sums, 1, gate.grid.strips(), length, gate.scratch_length(), workspace,
           [&](int64_t index, double* strip_sums, float* scratch) {
             body(Strip(gate, gate.grid.strip(index), scratch), strip_sums);
           });
}

double* allocate_sums(int64_t count, WorkspaceScope& scope) {
  return scope.allocate<double>(static_cast<size_t>(count));
}

void branch_statistics(const Gate& gate, const AttentionGateStatistics& s, Workspace& workspace) {
  WorkspaceScope scope(workspace);
  const int64_t f = gate.intermediate, length = 2 * f * 2 * lanes;
  double* const sums = allocate_sums(length, scope);
  for_each_gate_strip(gate, sums, length, workspace, [&](const Strip& strip, double* strip_sums) {
    strip.multiply(gate, gate.branch[0].convolution, gate.branch[1].convolution);
    for (int64_t i = 0; i < 2 * f; ++i)
      add_lane_moments(strip_sums + 2 * i * lanes, strip_sums + (2 * i + 1) * lanes,
                       strip.products + i * strip.stride, strip);
  });
  for (int64_t i = 0; i < 2 * f; ++i) {
    const double *const sum = sums + 2 * i * lanes, *const square = sum + lanes;
    finish_moments(i < f ? s.mean_g + i : s.mean_x + i - f, i < f ? s.variance_g + i : s.variance_x + i - f,
                   sum_of_lanes(sum), sum_of_lanes(square), gate.voxels());
  }
}

// out[v] = w_psi . relu(hidden) + b_psi; hidden: F rows.
VG_INLINE void psi_before_norm(const Gate& gate, const Strip& strip, const float* hidden, float* out) {
  for (int64_t v = 0; v < strip.vectors(); ++v) {
    Vec sum = broadcast(gate.bias_psi);
    const float* h = hidden + v * lanes;
    for (int64_t f = 0; f < gate.intermediate; ++f, h += strip.stride) {
      const Vec value = load(h);
      sum += gate.weight_psi[f] * (value <= 0.0f ? Vec{} : value);
    }
    store(out + v * lanes, sum);
  }
}

// psi = sigmoid(norm(s)) and y = x * psi. `s`: a row of scratch, overwritten with psi.
VG_INLINE void write_output(const VoxelStrip& strip, const PsiNorm& norm, float* s, const float* const* x,
                            const View<float>& y, const View<float>& psi) {
  float *to[most_strip_voxels], *to_psi[most_strip_voxels];
  strip.point(to, y);
  strip.point(to_psi, psi);
  for (int64_t v = 0; v < strip.vectors() * lanes; v += lanes)
    store(s + v, sigmoid(norm.normalised(load(s + v)) * norm.gamma + norm.beta));
  const bool streamed = streams(y);
  for_each_block(y.c, [&](auto block, int64_t c) {
    for (int64_t v = 0; v < strip.voxels(); ++v) {
      const Vec value = block.load(x[v] + c) * s[v];
      streamed ? stream(to[v] + c, value) : block.store(to[v] + c, value);
    }
  });
  if (streamed) finish_streaming();
  for (int64_t v = 0; v < strip.voxels(); ++v) *to_psi[v] = s[v];
}

// Leaves what the sigmoid's batch norm will get in `psi`.
void psi_statistics(const Gate& gate, const AttentionGateStatistics& s, const View<float>& psi,
                    Workspace& workspace) {
  WorkspaceScope scope(workspace);
  const Product folded = fold_norms(gate, scope);
  double sums[2 * lanes];
  for_each_gate_strip(gate, sums, 2 * lanes, workspace, [&](const Strip& strip, double* strip_sums) {
    multiply_strip(strip.products, strip.inputs, strip.stride, strip.vectors(), folded.weights, folded.bias,
                   gate.inputs(), gate.intermediate);
    psi_before_norm(gate, strip, strip.products, strip.rows);
    add_lane_moments(strip_sums, strip_sums + lanes, strip.rows, strip);
    float* to[most_strip_voxels];
    strip.point(to, psi);
    for (int64_t v = 0; v < strip.voxels(); ++v) *to[v] = strip.rows[v];
  });
  finish_moments(s.mean_psi, s.variance_psi, sum_of_lanes(sums), sum_of_lanes(sums + lanes), gate.voxels());
}

// All in one pass, with given statistics.
void forward_with_fixed_statistics(const Gate& gate, const AttentionGateStatistics& s, const View<float>& y,
                                   const View<float>& psi, Workspace& workspace) {
  WorkspaceScope scope(workspace);
  const Product folded = fold_norms(gate, scope);
  const PsiNorm norm(gate, s);
  for_each_gate_strip(gate, nullptr, 0, workspace, [&](const Strip& strip, double*) {
    multiply_strip(strip.products, strip.inputs, strip.stride, strip.vectors(), folded.weights, folded.bias,
                   gate.inputs(), gate.intermediate);
    psi_before_norm(gate, strip, strip.products, strip.rows);
    write_output(strip, norm, strip.rows, strip.x, y, psi);
  });
}

// Backward. dz = d loss / d (the sigmoid's argument), and the normalised input of psi's batch norm; both
// [strips][stride], zero in lanes beyond a strip's voxels.
struct PsiGradient {
  float *dz, *normalised;
};

// Sums over voxels, each by lanes. For psi: of dz and of dz * normalised. Then for each f, over the voxels
// whose hidden value is positive, of the products of (dz, 1, normalised) and (1, a, u), a and u being the
// normalised convolutions. d loss / d s = k (dz - m1 - normalised * m2) is linear in the first three, and m1
// and m2 are known only at the end: all that the batch norms' gradients need follows from these sums.
constexpr int64_t psi_sums = 2, hidden_sums = 9;

// dot[v] = dy . x.
VG_INLINE void dot_products(const Strip& strip, const float* const* dy, int64_t channels, float* dot) {
  for (int64_t v = 0; v < strip.vectors() * lanes; v += lanes) {
    Vec square[lanes] = {};
    for_each_block(channels, [&](auto block, int64_t c) {
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) square[i] += block.load(dy[v + i] + c) * block.load(strip.x[v + i] + c);
    });
    transpose(square);
#pragma GCC unroll 4
    for (int half = lanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
      for (int i = 0; i < half; ++i) square[i] += square[i + half];
    }
    store(dot + v, square[0]);
  }
}

// The normalised convolutions of one vector of voxels and one f, and what the relu gets of them.
struct Hidden {
  Vec a, u, h;
  VG_INLINE Hidden(const Gate& gate, const Strip& strip, int64_t f, int64_t v)
      : a(load(strip.products + f * strip.stride + v * lanes)),
        u(load(strip.products + (gate.intermediate + f) * strip.stride + v * lanes)),
        h(a * gate.branch[0].gamma[f] +
          (u * gate.branch[1].gamma[f] + (gate.branch[0].beta[f] + gate.branch[1].beta[f]))) {}
};

void strip_psi_gradient(const Gate& gate, const PsiNorm& norm, const PsiGradient& gradient,
                        const Strip& strip, const View<const float>& dy, const View<const float>& psi,
                        double* sums) {
  const float *at_dy[most_strip_voxels], *at_psi[most_strip_voxels];
  strip.point(at_dy, dy);
  strip.point(at_psi, psi);
  float *const dot = strip.rows, *const coefficient = dot + strip.stride;
  dot_products(strip, at_dy, dy.c, dot);
  for (int64_t v = 0; v < strip.vectors() * lanes; ++v) coefficient[v] = *at_psi[v];
  Vec sum{}, product{};
  for (int64_t v = 0; v < strip.vectors(); ++v) {
    Vec s = broadcast(gate.bias_psi);
    for (int64_t f = 0; f < gate.intermediate; ++f) {
      const Vec h = Hidden(gate, strip, f, v).h;
      s += gate.weight_psi[f] * (h <= 0.0f ? Vec{} : h);
    }
    const Vec p = load(coefficient + v * lanes), one = strip.inside(v);
    const Vec dz = load(dot + v * lanes) * p * (1.0f - p) * one, normalised = norm.normalised(s) * one;
    sum += dz;
    product += dz * normalised;
    store(gradient.dz + strip.index * strip.stride + v * lanes, dz);
    store(gradient.normalised + strip.index * strip.stride + v * lanes, normalised);
  }
  add_to(sums, sum, FullBlock{});
  add_to(sums + lanes, product, FullBlock{});
}

void strip_hidden_sums(const Gate& gate, const PsiGradient& gradient, const Strip& strip, double* sums) {
  const float *const dz = gradient.dz + strip.index * strip.stride, *const normalised =
                                                                        gradient.normalised +
                                                                        strip.index * strip.stride;
  for (int64_t f = 0; f < gate.intermediate; ++f, sums += hidden_sums * lanes) {
    Vec total[hidden_sums] = {};
    for (int64_t v = 0; v < strip.vectors(); ++v) {
      const Hidden hidden(gate, strip, f, v);
      const Vec factors[3] = {load(dz + v * lanes), strip.inside(v), load(normalised + v * lanes)};
      const Vec a = hidden.h <= 0.0f ? Vec{} : hidden.a, u = hidden.h <= 0.0f ? Vec{} : hidden.u;
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) {
        total[3 * i] += hidden.h <= 0.0f ? Vec{} : factors[i];
        total[3 * i + 1] += factors[i] * a;
        total[3 * i + 2] += factors[i] * u;
      }
    }
#pragma GCC unroll 9
    for (int i = 0; i < hidden_sums; ++i) add_to(sums + i * lanes, total[i], FullBlock{});
  }
}

// What the last pass needs per f: means of dh, dh * a, dh * u over the voxels (zero with fixed statistics),
// dh being d loss / d hidden, which both norms get; for psi the same means, and factors of the gradients.
struct Means {
  float *dh, *dh_a, *dh_u;   ///< [F] each
  float *scale_g, *scale_x;  ///< [F]: gamma / deviation
  float scale_psi, dz, dz_product;
};

void add(float& gradient, double value) {
  gradient += static_cast<float>(value);
}

// Takes gradients of everything but W_g and W_x, and the means, from the sums. A bias before a norm that
// computes its statistics has the gradient zero.
Means finish_sums(const Gate& gate, const PsiNorm& norm, const AttentionGateGradients& gradients,
                  const double* sums, bool fixed, WorkspaceScope& scope) {
  const int64_t count = gate.intermediate;
  float* const values = scope.allocate<float>(static_cast<size_t>(5 * count));
  const double sum = sum_of_lanes(sums), product = sum_of_lanes(sums + lanes);
  const double mean = fixed ? 0 : sum / gate.voxels(), mean_product = fixed ? 0 : product / gate.voxels();
  const double scale = static_cast<double>(norm.gamma) * static_cast<double>(norm.inverse_deviation);
  const Means means{values,
                    values + count,
                    values + 2 * count,
                    values + 3 * count,
                    values + 4 * count,
                    static_cast<float>(scale),
                    static_cast<float>(mean),
                    static_cast<float>(mean_product)};
  add(gradients.beta_psi[0], sum);
  add(gradients.gamma_psi[0], product);
  if (fixed) add(gradients.bias_psi[0], scale * sum);
  for (int64_t f = 0; f < count; ++f) {
    const Branch &g = gate.branch[0], &x = gate.branch[1];
    const double* const of_f = sums + (psi_sums + f * hidden_sums) * lanes;
    double ds[3];  // sums of d loss / d s times 1, a, u over the voxels with a positive hidden value
    for (int i = 0; i < 3; ++i)
      ds[i] = scale * (sum_of_lanes(of_f + i * lanes) - mean * sum_of_lanes(of_f + (3 + i) * lanes) -
                       mean_product * sum_of_lanes(of_f + (6 + i) * lanes));
    const double weight = static_cast<double>(gate.weight_psi[f]);
    add(gradients.weight_psi[f],
        static_cast<double>(g.gamma[f]) * ds[1] + static_cast<double>(x.gamma[f]) * ds[2] +
            (static_cast<double>(g.beta[f]) + static_cast<double>(x.beta[f])) * ds[0]);
    add(gradients.beta_g[f], weight * ds[0]);
    add(gradients.beta_x[f], weight * ds[0]);
    add(gradients.gamma_g[f], weight * ds[1]);
    add(gradients.gamma_x[f], weight * ds[2]);
    const double share = fixed ? 0 : weight / gate.voxels();
    means.dh[f] = static_cast<float>(share * ds[0]);
    means.dh_a[f] = static_cast<float>(share * ds[1]);
    means.dh_u[f] = static_cast<float>(share * ds[2]);
    const double scale_g = static_cast<double>(g.gamma[f]) * inverse_deviation_of(g.variance[f], gate.eps),
                 scale_x = static_cast<double>(x.gamma[f]) * inverse_deviation_of(x.variance[f], gate.eps);
    means.scale_g[f] = static_cast<float>(scale_g);
    means.scale_x[f] = static_cast<float>(scale_x);
    if (fixed) {
      add(gradients.bias_g[f], scale_g * weight * ds[0]);
      add(gradients.bias_x[f], scale_x * weight * ds[0]);
    }
  }
  return means;
}

// Turns the strip's normalised convolutions into the gradients of the convolutions' outputs, in place.
void convolution_gradients(const Gate& gate, const PsiGradient& gradient, const Means& means,
                           const Strip& strip) {
  float* const ds = strip.rows;
  const int64_t first = strip.index * strip.stride;
  for (int64_t v = 0; v < strip.vectors() * lanes; v += lanes)
    store(ds + v, means.scale_psi * (load(gradient.dz + first + v) - means.dz -
                                     load(gradient.normalised + first + v) * means.dz_product));
  for (int64_t f = 0; f < gate.intermediate; ++f) {
    float *const of_g = strip.products + f * strip.stride, *const of_x =
                                                               of_g + gate.intermediate * strip.stride;
    for (int64_t v = 0; v < strip.vectors(); ++v) {
      const Hidden hidden(gate, strip, f, v);
      const Vec dh = (hidden.h <= 0.0f ? Vec{} : gate.weight_psi[f] * load(ds + v * lanes)) - means.dh[f];
      store(of_g + v * lanes, means.scale_g[f] * (dh - hidden.a * means.dh_a[f]));
      store(of_x + v * lanes, means.scale_x[f] * (dh - hidden.u * means.dh_u[f]));
    }
  }
}

// sums[f][padded channels] += sum over the strip of gradient[f][v] * input[v][c], `Rows` values of f at once.
template <int Rows>
VG_INLINE void add_outer_products(double* sums, const Strip& strip, const float* gradient,
                                  const float* const* input, int64_t channels) {
  for_each_block(channels, [&](auto block, int64_t c) {
    Vec total[Rows] = {};
    for (int64_t v = 0; v < strip.voxels(); ++v) {
      const Vec value = block.load(input[v] + c);
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) total[i] += value * gradient[i * strip.stride + v];
    }
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) add_to(sums + i * padded(channels) + c, total[i], block);
  });
}

// to[v][c] = init(v, block, c) + sum over f of weights[f * channels + c] * gradient[f][v].
template <int Voxels, class Init>
VG_INLINE void multiply_voxels(const Gate& gate, const Strip& strip, int64_t v, const float* weights,
                               int64_t channels, const float* gradient, float* const* to, bool streamed,
                               const Init& init) {
  for_each_block(channels, [&](auto block, int64_t c) {
    Vec sum[Voxels];
#pragma GCC unroll 8
    for (int i = 0; i < Voxels; ++i) sum[i] = init(v + i, block, c);
    for (int64_t f = 0; f < gate.intermediate; ++f) {
      const Vec weight = block.load(weights + f * channels + c);
#pragma GCC unroll 8
      for (int i = 0; i < Voxels; ++i) sum[i] += weight * gradient[f * strip.stride + v + i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < Voxels; ++i)
      streamed ? stream(to[v + i] + c, sum[i]) : block.store(to[v + i] + c, sum[i]);
  });
}

// The gradients of one convolution's weights, into `sums`, and of its input.
template <class Init>
VG_INLINE void branch_gradients(const Gate& gate, const Strip& strip, int side, const float* const* input,
                                const View<float>& d_input, double* sums, const Init& init) {
  const Branch& b = gate.branch[side];
  const int64_t channels = b.input.c;
  const float* const gradient = strip.products + side * gate.intermediate * strip.stride;
  int64_t f = 0;
  for (; f + group <= gate.intermediate; f += group)
    add_outer_products<group>(sums + f * padded(channels), strip, gradient + f * strip.stride, input,
                              channels);
  for (; f < gate.intermediate; ++f)
    add_outer_products<1>(sums + f * padded(channels), strip, gradient + f * strip.stride, input, channels);
  float* to[most_strip_voxels];
  strip.point(to, d_input);
  const bool streamed = streams(d_input);
  int64_t v = 0;
  for (; v + group <= strip.voxels(); v += group)
    multiply_voxels<group>(gate, strip, v, b.convolution.weights, channels, gradient, to, streamed, init);
  for (; v < strip.voxels(); ++v)
    multiply_voxels<1>(gate, strip, v, b.convolution.weights, channels, gradient, to, streamed, init);
  if (streamed) finish_streaming();
}

void add_weight_gradients(float* weight, const double* sums, int64_t intermediate, int64_t channels) {
  for (int64_t f = 0; f < intermediate; ++f) {
    for (int64_t c = 0; c < channels; ++c) add(weight[f * channels + c], sums[f * padded(channels) + c]);
  }
}

}  // namespace

void attention_gate_forward(View<float> y, View<float> psi, const AttentionGateStatistics& statistics,
                            View<const float> g, View<const float> x, const AttentionGateWeights& weights,
                            const AttentionGateParams& params, const Exec& exec) {
  const Gate gate = make_gate(g, x, statistics, weights, params);
  if (params.fixed_statistics)
    return forward_with_fixed_statistics(gate, statistics, y, psi, *exec.workspace);
  branch_statistics(gate, statistics, *exec.workspace);
  psi_statistics(gate, statistics, psi, *exec.workspace);
  const PsiNorm norm(gate, statistics);
  parallel_for(gate.grid.strips(), 4, [&](int64_t index) {
    const VoxelStrip strip = gate.grid.strip(index);
    const float *at_x[most_strip_voxels], *at_psi[most_strip_voxels];
    strip.point(at_x, x);
    strip.point(at_psi, View<const float>(psi));
    float s[most_strip_voxels];
    for (int64_t v = 0; v < strip.vectors() * lanes; ++v) s[v] = *at_psi[v];
    write_output(strip, norm, s, at_x, y, psi);
  });
}

void attention_gate_backward(View<float> dg, View<float> dx, const AttentionGateGradients& gradients,
                             View<const float> dy, View<const float> psi,
                             const AttentionGateStatistics& statistics, View<const float> g,
                             View<const float> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, View<const float> dg_so_far,
                             const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const Gate gate = make_gate(g, x, statistics, weights, params);
  const PsiNorm norm(gate, statistics);
  const bool fixed = params.fixed_statistics, add = dg_so_far.data != nullptr;
  const int64_t f = gate.intermediate;
  Product normalised[2];
  for (int side = 0; side < 2; ++side) normalise(normalised[side], gate.branch[side], f, gate.eps, scope);

  const auto floats = static_cast<size_t>(gate.grid.strips() * gate.grid.stride());
  const PsiGradient gradient{scope.allocate<float>(floats), scope.allocate<float>(floats)};
  const int64_t length = (psi_sums + f * hidden_sums) * lanes;
  double* const sums = allocate_sums(length, scope);
  for_each_gate_strip(gate, sums, length, *exec.workspace, [&](const Strip& strip, double* strip_sums) {
    strip.multiply(gate, normalised[0], normalised[1]);
    strip_psi_gradient(gate, norm, gradient, strip, dy, psi, strip_sums);
    strip_hidden_sums(gate, gradient, strip, strip_sums + psi_sums * lanes);
  });
  const Means means = finish_sums(gate, norm, gradients, sums, fixed, scope);

  const int64_t weights_g = f * padded(g.c), all_weights = weights_g + f * padded(x.c);
  double* const weight_sums = allocate_sums(all_weights, scope);
  for_each_gate_strip(
      gate, weight_sums, all_weights, *exec.workspace, [&](const Strip& strip, double* strip_sums) {
        strip.multiply(gate, normalised[0], normalised[1]);
        convolution_gradients(gate, gradient, means, strip);
        const float* so_far[most_strip_voxels];
        if (add) strip.point(so_far, dg_so_far);
        branch_gradients(gate, strip, 0, strip.g, dg, strip_sums, [&](int64_t v, auto block, int64_t c) {
          return add ? block.load(so_far[v] + c) : Vec{};
        });
        const float *at_dy[most_strip_voxels], *at_psi[most_strip_voxels];
        strip.point(at_dy, dy);
        strip.point(at_psi, psi);
        branch_gradients(
            gate, strip, 1, strip.x, dx, strip_sums + weights_g,
            [&](int64_t v, auto block, int64_t c) { return block.load(at_dy[v] + c) * *at_psi[v]; });
      });
  add_weight_gradients(gradients.weight_g, weight_sums, f, g.c);
  add_weight_gradients(gradients.weight_x, weight_sums + weights_g, f, x.c);
}

}  // namespace vg::kernels::cpu::VG_ISA
