// The attention gate's oracle: the composition of its parts, naively and in double; and the op with all its
// operands.
#pragma once

#include <array>
#include <cmath>
#include <memory>

#include "kernels/attention_gate/attention_gate.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/norm_oracle.h"
#include "support/random_data.h"
#include "support/stored.h"

namespace vg::test::gate {

using namespace vg::kernels;

struct Shape {
  int64_t n, d, h, w, gate, skip, intermediate;
  int64_t voxels() const { return n * d * h * w; }
  NormShape norm(int64_t channels) const { return {1, voxels(), channels}; }
};
const Shape shapes[] = {{1, 2, 3, 7, 16, 16, 8}, {2, 1, 3, 5, 3, 5, 2},    {1, 2, 2, 70, 8, 8, 4},
                        {1, 2, 2, 5, 33, 17, 9}, {1, 1, 3, 8, 32, 32, 16}, {1, 3, 2, 165, 16, 16, 8},
                        {1, 5, 9, 80, 16, 16, 8}};

// The order of weights, and of their gradients, in arrays of twelve.
enum {
  weight_g,
  bias_g,
  gamma_g,
  beta_g,
  weight_x,
  bias_x,
  gamma_x,
  beta_x,
  weight_psi,
  bias_psi,
  gamma_psi,
  beta_psi
};
constexpr size_t weight_count = 12;
template <class T>
using PerWeight = std::array<std::vector<T>, weight_count>;

inline std::array<int64_t, weight_count> weight_sizes(const Shape& s) {
  const int64_t f = s.intermediate;
  return {f * s.gate, f, f, f, f * s.skip, f, f, f, f, 1, 1, 1};
}

inline PerWeight<float> random_weights(const Shape& s, uint32_t seed) {
  PerWeight<float> w;
  for (size_t i = 0; i < weight_count; ++i)
    w[i] = uniform(weight_sizes(s)[i], seed + static_cast<uint32_t>(i));
  // Away from zero, where psi would hardly depend on anything.
  for (size_t i : {gamma_g, gamma_x, gamma_psi})
    for (float& v : w[i]) v += v < 0 ? -0.5f : 0.5f;
  return w;
}

// --- Oracle: the composition of 1x1x1 convolutions, batch norms, relu, sigmoid and product, in double
// ------------

struct Linear {
  int64_t in, out;
  Doubles forward(const Doubles& x, const Doubles& weight, const Doubles& bias) const {
    Doubles y;
    for (int64_t v = 0; v < static_cast<int64_t>(x.size()) / in; ++v) {
      for (int64_t f = 0; f < out; ++f) {
        double sum = bias[static_cast<size_t>(f)];
        for (int64_t c = 0; c < in; ++c)
          sum += weight[static_cast<size_t>(f * in + c)] * x[static_cast<size_t>(v * in + c)];
        y.push_back(sum);
      }
    }
    return y;
  }
  void backward(Doubles& dx, Doubles& dweight, Doubles& dbias, const Doubles& dy, const Doubles& x,
                const Doubles& weight) const {
    dx.assign(x.size(), 0);
    dweight.assign(weight.size(), 0);
    dbias.assign(static_cast<size_t>(out), 0);
    for (size_t i = 0; i < dy.size(); ++i) {
      const size_t f = i % static_cast<size_t>(out), v = i / static_cast<size_t>(out),
                   n = static_cast<size_t>(in);
      dbias[f] += dy[i];
      for (size_t c = 0; c < n; ++c) {
        dweight[f * n + c] += dy[i] * x[v * n + c];
        dx[v * n + c] += dy[i] * weight[f * n + c];
      }
    }
  }
};

struct Statistics {
  NormStatistics g, x, psi;
};

struct Oracle {
  Shape s;
  Norm3dParams norm;
  PerWeight<double> w;
  Doubles g, x;
  Statistics t;  // computed by forward unless norm.fixed_statistics
  // Intermediate results.
  Doubles convolved_g, convolved_x, hidden, before_psi, psi, y;
  // Gradients.
  PerWeight<double> dw;
  Doubles dg, dx;

  void forward() {
    const int64_t f = s.intermediate;
    convolved_g = Linear{s.gate, f}.forward(g, w[weight_g], w[bias_g]);
    convolved_x = Linear{s.skip, f}.forward(x, w[weight_x], w[bias_x]);
    if (!norm.fixed_statistics) {
      t.g = norm_statistics(convolved_g, s.norm(f), norm);
      t.x = norm_statistics(convolved_x, s.norm(f), norm);
    }
    hidden = norm_apply(convolved_g, t.g, {w[gamma_g], w[beta_g], {}}, s.norm(f), norm);
    const Doubles other = norm_apply(convolved_x, t.x, {w[gamma_x], w[beta_x], {}}, s.norm(f), norm);
    for (size_t i = 0; i < hidden.size(); ++i) hidden[i] = std::max(0.0, hidden[i] + other[i]);
    before_psi = Linear{f, 1}.forward(hidden, w[weight_psi], w[bias_psi]);
    if (!norm.fixed_statistics) t.psi = norm_statistics(before_psi, s.norm(1), norm);
    psi = norm_apply(before_psi, t.psi, {w[gamma_psi], w[beta_psi], {}}, s.norm(1), norm);
    for (double& v : psi) v = 1 / (1 + std::exp(-v));
    y = x;
    for (size_t i = 0; i < y.size(); ++i) y[i] *= psi[i / static_cast<size_t>(s.skip)];
  }

  void backward(const Doubles& dy) {
    const int64_t f = s.intermediate;
    const auto skip = static_cast<size_t>(s.skip);
    Doubles dz(psi.size());
    for (size_t i = 0; i < dy.size(); ++i) dz[i / skip] += dy[i] * x[i];
    for (size_t v = 0; v < dz.size(); ++v) dz[v] *= psi[v] * (1 - psi[v]);
    const auto through_norm = [&](const Doubles& gradient, const Doubles& input,
                                  const NormStatistics& statistics, size_t gamma, int64_t channels) {
      NormGradients r =
          norm_backward(gradient, input, statistics, {w[gamma], w[gamma + 1], {}}, s.norm(channels), norm);
      dw[gamma] = r.dgamma;
      dw[gamma + 1] = r.dbeta;
      return r.dx;
    };
    Doubles dh;
    Linear{f, 1}.backward(dh, dw[weight_psi], dw[bias_psi], through_norm(dz, before_psi, t.psi, gamma_psi, 1),
                          hidden, w[weight_psi]);
    for (size_t i = 0; i < dh.size(); ++i) dh[i] = hidden[i] > 0 ? dh[i] : 0;
    Linear{s.gate, f}.backward(dg, dw[weight_g], dw[bias_g], through_norm(dh, convolved_g, t.g, gamma_g, f),
                               g, w[weight_g]);
    Linear{s.skip, f}.backward(dx, dw[weight_x], dw[bias_x], through_norm(dh, convolved_x, t.x, gamma_x, f),
                               x, w[weight_x]);
    for (size_t i = 0; i < dy.size(); ++i) dx[i] += dy[i] * psi[i / skip];
  }
};

inline Oracle make_oracle(const Shape& s, const PerWeight<float>& w, const std::vector<float>& g,
                          const std::vector<float>& x, bool fixed) {
  Oracle o;
  o.s = s;
  o.norm = {false, 1e-3f, fixed, {ActivationKind::identity, 0, 1}};
  for (size_t i = 0; i < weight_count; ++i) o.w[i] = to_doubles(w[i]);
  o.g = to_doubles(g);
  o.x = to_doubles(x);
  return o;
}

// The numbers that a fused gate is given as statistics when they are fixed.
inline Statistics given_statistics(const Shape& s) {
  const auto some = [](int64_t count, uint32_t seed) {
    return NormStatistics{to_doubles(uniform(count, seed)), to_doubles(uniform(count, seed + 1, 0.5f, 2))};
  };
  return {some(s.intermediate, 31), some(s.intermediate, 33), some(1, 35)};
}

// --- The op under test
// -----------------------------------------------------------------------------------------

inline std::vector<float> narrowed(const Doubles& values) {
  std::vector<float> result;
  for (double v : values) result.push_back(static_cast<float>(v));
  return result;
}

// T: type of the activations. psi is float, and with bfloat16 its scores.
template <class T>
class FusedGateOf {
 public:
  FusedGateOf(DeviceKind device, const Shape& s, const PerWeight<float>& w, const PerWeight<float>& gradients,
              const Statistics& t, bool fixed, Placement p, const Exec& exec, float eps = 1e-3f)
      : device_(device),
        shape_(s),
        params_{s.gate, s.skip, s.intermediate, eps, fixed},
        placement_(p),
        exec_(exec) {
    for (size_t i = 0; i < weight_count; ++i) {
      weights_[i] = std::make_unique<Buffer<float>>(device, w[i]);
      gradients_[i] = std::make_unique<Buffer<float>>(device, gradients[i]);
    }
    for (const NormStatistics* one : {&t.g, &t.x, &t.psi}) {
      statistics_.push_back(std::make_unique<Buffer<float>>(device, narrowed(one->mean)));
      statistics_.push_back(std::make_unique<Buffer<float>>(device, narrowed(one->variance)));
    }
  }

  void run(const std::vector<float>& g, const std::vector<float>& x, const std::vector<float>& dy) {
    const Shape& s = shape_;
    const auto make = [&](int64_t channels, Placement p) {
      return std::make_unique<Activation<T>>(device_, s.n, s.d, s.h, s.w, channels, p);
    };
    const auto vg = make(s.gate, placement_), vx = make(s.skip, {}), vdy = make(s.skip, placement_);
    const auto vy = make(s.skip, placement_), vdx = make(s.skip, placement_), vdg = make(s.gate, {});
    const Activation<float> vpsi(device_, s.n, s.d, s.h, s.w, 1, placement_);
    vg->set(stored<T>(g)), vx->set(stored<T>(x)), vdy->set(stored<T>(dy));
    const auto p = [&](size_t i) { return weights_[i]->data(); };
    const auto d = [&](size_t i) { return gradients_[i]->data(); };
    const AttentionGateWeights w{p(0), p(1), p(2), p(3), p(4), p(5), p(6), p(7), p(8), p(9), p(10), p(11)};
    const AttentionGateGradients dw{d(0), d(1), d(2), d(3), d(4), d(5), d(6), d(7), d(8), d(9), d(10), d(11)};
    const AttentionGateStatistics t{statistics_[0]->data(), statistics_[1]->data(), statistics_[2]->data(),
                                    statistics_[3]->data(), statistics_[4]->data(), statistics_[5]->data()};
    attention_gate_forward(*vy, vpsi, t, *vg, *vx, w, params_, exec_);
    if constexpr (std::is_same_v<T, bfloat16>) {
      const bool sums = params_.norm_of_g.mean != nullptr;
      const Buffer<float> of_norm(device_, std::vector<float>(static_cast<size_t>(2 * s.gate), 1e6f));
      attention_gate_backward(*vdg, *vdx, dw, *vdy, vpsi.view(), t, *vg, *vx, w, params_, {},
                              sums ? of_norm.data() : nullptr, exec_);
      norm_sums = of_norm.get();
    } else {
      attention_gate_backward(*vdg, *vdx, dw, *vdy, vpsi.view(), t, *vg, *vx, w, params_, exec_);
    }
    y = to_floats(vy->get()), psi = vpsi.get(), dg = to_floats(vdg->get()), dx = to_floats(vdx->get());
  }
  void set_norms(const InputNorm& of_g, const InputNorm& of_x) {
    params_.norm_of_g = of_g;
    params_.norm_of_x = of_x;
  }
  std::vector<float> gradient(size_t i) const { return gradients_[i]->get(); }
  std::vector<float> statistic(size_t i) const { return statistics_[i]->get(); }

  std::vector<float> y, psi, dg, dx;
  std::vector<float> norm_sums;  ///< of dg, where there is a norm of g

 private:
  DeviceKind device_;
  Shape shape_;
  AttentionGateParams params_;
  Placement placement_;
  Exec exec_;
  std::array<std::unique_ptr<Buffer<float>>, weight_count> weights_, gradients_;
  std::vector<std::unique_ptr<Buffer<float>>> statistics_;
};

using FusedGate = FusedGateOf<float>;

inline double largest(const Doubles& values) {
  double result = 0;
  for (double v : values) result = std::max(result, std::abs(v));
  return result;
}

}  // namespace vg::test::gate
