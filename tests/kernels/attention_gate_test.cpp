#include "kernels/attention_gate/attention_gate.h"

#include <array>
#include <cmath>
#include <memory>

#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/finite_difference.h"
#include "support/instruction_sets.h"
#include "support/norm_oracle.h"
#include "support/random_data.h"
#include "support/stored.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using AttentionGateTest = DeviceTest;
VG_ON_EVERY_DEVICE(AttentionGateTest);

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

std::array<int64_t, weight_count> weight_sizes(const Shape& s) {
  const int64_t f = s.intermediate;
  return {f * s.gate, f, f, f, f * s.skip, f, f, f, f, 1, 1, 1};
}

PerWeight<float> random_weights(const Shape& s, uint32_t seed) {
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

Oracle make_oracle(const Shape& s, const PerWeight<float>& w, const std::vector<float>& g,
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
Statistics given_statistics(const Shape& s) {
  const auto some = [](int64_t count, uint32_t seed) {
    return NormStatistics{to_doubles(uniform(count, seed)), to_doubles(uniform(count, seed + 1, 0.5f, 2))};
  };
  return {some(s.intermediate, 31), some(s.intermediate, 33), some(1, 35)};
}

// --- The op under test
// -----------------------------------------------------------------------------------------

std::vector<float> narrowed(const Doubles& values) {
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
  void set_norm_of_g(const InputNorm& norm) { params_.norm_of_g = norm; }
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

double largest(const Doubles& values) {
  double result = 0;
  for (double v : values) result = std::max(result, std::abs(v));
  return result;
}

TEST_P(AttentionGateTest, AgreesWithTheCompositionOfItsParts) {
  for_each_instruction_set(device(), [&] {
    size_t turn = 0;
    for (const Shape& s : shapes) {
      for (const bool fixed : {false, true}) {
        SCOPED_TRACE(testing::Message() << "voxels " << s.voxels() << ", channels " << s.gate << ' ' << s.skip
                                        << ' ' << s.intermediate << (fixed ? ", fixed" : ""));
        const Placement p = placements()[turn++ % placements().size()];
        const auto w = random_weights(s, 1), before = random_weights(s, 50);
        const auto g = uniform(s.voxels() * s.gate, 20), x = uniform(s.voxels() * s.skip, 21),
                   dy = uniform(s.voxels() * s.skip, 22);
        Oracle o = make_oracle(s, w, g, x, fixed);
        if (fixed) o.t = given_statistics(s);
        o.forward();
        o.backward(to_doubles(dy));
        FusedGate gate(device(), s, w, before, fixed ? o.t : given_statistics(s), fixed, p, exec());
        gate.run(g, x, dy);

        EXPECT_TRUE(all_close(gate.psi, o.psi, 5e-6));
        EXPECT_TRUE(all_close(gate.y, o.y, 5e-6));
        const NormStatistics* const expected[] = {&o.t.g, &o.t.x, &o.t.psi};
        for (size_t i = 0; i < 3; ++i) {
          EXPECT_TRUE(all_close(gate.statistic(2 * i), expected[i]->mean, 2e-6));
          EXPECT_TRUE(all_close(gate.statistic(2 * i + 1), expected[i]->variance, 1e-6, 2e-6));
        }
        EXPECT_TRUE(all_close(gate.dg, o.dg, 2e-5 * largest(o.dg)));
        EXPECT_TRUE(all_close(gate.dx, o.dx, 2e-5 * largest(o.dx)));
        for (size_t i = 0; i < weight_count; ++i) {
          SCOPED_TRACE(testing::Message() << "gradient " << i);
          Doubles total = to_doubles(before[i]);
          for (size_t j = 0; j < total.size(); ++j) total[j] += o.dw[i][j];
          // A bias before a batch norm has the gradient zero up to rounding: the sum of terms that cancel.
          EXPECT_TRUE(all_close(gate.gradient(i), total, 1e-5 * (1 + largest(o.dw[i]))));
        }
      }
    }
  });
}

// Small integers, deviations of one, and w_psi = 0, so that psi = sigmoid(0) = 1/2 and every step is exact in
// float, at tolerance zero: which channel goes where. The gradient of w_psi shows the hidden channels.
TEST_P(AttentionGateTest, ExactOnIntegers) {
  const Shape s{2, 1, 2, 5, 5, 3, 4};
  PerWeight<float> w;
  for (size_t i = 0; i < weight_count; ++i)
    w[i] = integers(weight_sizes(s)[i], 40 + static_cast<uint32_t>(i), 2);
  w[weight_psi].assign(4, 0);
  w[bias_psi] = w[beta_psi] = {0};
  w[gamma_psi] = {2};
  const Statistics t{{Doubles(4, 1), Doubles(4, 1)}, {Doubles(4, -1), Doubles(4, 1)}, {{0}, {1}}};
  const auto g = integers(s.voxels() * s.gate, 1), x = integers(s.voxels() * s.skip, 2),
             dy = integers(s.voxels() * s.skip, 3);
  for_each_instruction_set(device(), [&] {
    Oracle o = make_oracle(s, w, g, x, true);
    o.norm.eps = 0;
    o.t = t;
    o.forward();
    o.backward(to_doubles(dy));
    FusedGate gate(device(), s, w, w, t, true, {1, 3, 2}, exec(), 0);
    gate.run(g, x, dy);
    EXPECT_TRUE(all_close(gate.psi, Doubles(o.psi.size(), 0.5), 0));
    EXPECT_TRUE(all_close(gate.y, o.y, 0));
    EXPECT_TRUE(all_close(gate.dx, o.dx, 0));
    EXPECT_TRUE(all_close(gate.dg, o.dg, 0));
    EXPECT_GT(largest(o.dw[weight_psi]), 0);
    for (size_t i = 0; i < weight_count; ++i) {
      Doubles total = to_doubles(w[i]);
      for (size_t j = 0; j < total.size(); ++j) total[j] += o.dw[i][j];
      EXPECT_TRUE(all_close(gate.gradient(i), total, 0)) << "gradient " << i;
    }
  });
}

// The composed derivatives against central differences of the composed forward pass.
TEST(AttentionGateOracle, AgreesWithFiniteDifferences) {
  const Shape s{1, 1, 3, 4, 3, 2, 2};
  const auto w = random_weights(s, 3);
  const auto g = uniform(s.voxels() * s.gate, 1), x = uniform(s.voxels() * s.skip, 2);
  const Doubles dy = to_doubles(uniform(s.voxels() * s.skip, 3));
  for (const bool fixed : {false, true}) {
    Oracle o = make_oracle(s, w, g, x, fixed);
    if (fixed) o.t = given_statistics(s);
    const auto loss = [&] {
      o.forward();
      double sum = 0;
      for (size_t i = 0; i < dy.size(); ++i) sum += o.y[i] * dy[i];
      return sum;
    };
    o.forward();
    o.backward(dy);
    EXPECT_TRUE(all_close(finite_difference(o.g, loss), o.dg, 1e-7));
    EXPECT_TRUE(all_close(finite_difference(o.x, loss), o.dx, 1e-7));
    for (size_t i = 0; i < weight_count; ++i)
      EXPECT_TRUE(all_close(finite_difference(o.w[i], loss), o.dw[i], 1e-7)) << "weight " << i;
  }
}

// --- bfloat16
// -----------------------------------------------------------------------------------------------

#ifdef VOXGRAD_WITH_CUDA
using AttentionGateBfloat16Test = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, AttentionGateBfloat16Test, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

// The oracle gets what the op sees: rounded activations and rounded weights of the two convolutions.
void check_bfloat16(const Shape& s, bool fixed, Placement p, const Exec& exec) {
  SCOPED_TRACE(testing::Message() << "voxels " << s.voxels() << ", channels " << s.gate << ' ' << s.skip
                                  << ' ' << s.intermediate << (fixed ? ", fixed" : "") << ", halo " << p.halo
                                  << ", channels before " << p.channels_before);
  const auto w = random_weights(s, 1), before = random_weights(s, 50);
  const auto g = rounded<bfloat16>(uniform(s.voxels() * s.gate, 20)),
             x = rounded<bfloat16>(uniform(s.voxels() * s.skip, 21)),
             dy = rounded<bfloat16>(uniform(s.voxels() * s.skip, 22));
  auto rounded_w = w;
  for (size_t i : {weight_g, weight_x}) rounded_w[i] = rounded<bfloat16>(w[i]);
  Oracle o = make_oracle(s, rounded_w, g, x, fixed);
  if (fixed) o.t = given_statistics(s);
  o.forward();
  o.backward(to_doubles(dy));
  FusedGateOf<bfloat16> gate(exec.device, s, w, before, fixed ? o.t : given_statistics(s), fixed, p, exec);
  gate.run(g, x, dy);

  EXPECT_TRUE(all_close(gate.psi, o.before_psi, 5e-6 * (1 + largest(o.before_psi))));
  EXPECT_TRUE(all_close(gate.y, o.y, 1e-5, 0x1p-8));
  const NormStatistics* const expected[] = {&o.t.g, &o.t.x, &o.t.psi};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(all_close(gate.statistic(2 * i), expected[i]->mean, 4e-6));
    EXPECT_TRUE(all_close(gate.statistic(2 * i + 1), expected[i]->variance, 2e-6, 4e-6));
  }
  // On tensor cores the convolutions' gradients are rounded to 8 bits before they are multiplied.
  const double rounding = 0x1p-8;
  EXPECT_TRUE(all_close(gate.dg, o.dg, rounding * largest(o.dg), 0x1p-8));
  EXPECT_TRUE(all_close(gate.dx, o.dx, rounding * largest(o.dg), 0x1p-8));
  for (size_t i = 0; i < weight_count; ++i) {
    SCOPED_TRACE(testing::Message() << "gradient " << i);
    Doubles total = to_doubles(before[i]);
    for (size_t j = 0; j < total.size(); ++j) total[j] += o.dw[i][j];
    const bool product = i == weight_g || i == weight_x;
    EXPECT_TRUE(all_close(gate.gradient(i), total, (product ? rounding : 1e-5) * (1 + largest(o.dw[i]))));
  }
}

TEST_P(AttentionGateBfloat16Test, AgreesWithTheCompositionOfItsParts) {
  const Shape any_channels[] = {{1, 2, 3, 7, 24, 16, 8}, {2, 1, 3, 5, 3, 5, 2}, {1, 1, 2, 33, 8, 8, 4},
                                {1, 2, 2, 5, 33, 17, 9}, {1, 1, 3, 2, 1, 4, 1}, {1, 1, 1, 5, 64, 64, 8}};
  size_t turn = 0;
  for (const Shape& s : any_channels) {
    for (const bool fixed : {false, true})
      check_bfloat16(s, fixed, placements()[turn++ % placements().size()], exec());
  }
}

// Channels that tensor cores take: tiles that are not full, one and several blocks, every number of groups of
// intermediate channels. The placement off multiples of 16 bytes falls back.
const Shape tensor_shapes[] = {{1, 2, 3, 7, 16, 16, 8},
                               {2, 1, 3, 17, 32, 32, 16},
                               {1, 1, 3, 33, 64, 64, 32},
                               {1, 1, 2, 9, 128, 128, 64}};

TEST_P(AttentionGateBfloat16Test, TensorCoresAgreeOnEveryPlacement) {
  for (const Shape& s : tensor_shapes) {
    for (const bool fixed : {false, true}) {
      for (const Placement& p : placements()) check_bfloat16(s, fixed, p, exec());
    }
  }
}

// A norm of g that is applied as g is read: the bits of one in a pass of its own, also where it falls back.
// What that norm needs of dg is summed on the way.
TEST_P(AttentionGateBfloat16Test, NormOfTheGatingSignal) {
  for (const Shape& s : {tensor_shapes[0], tensor_shapes[1], tensor_shapes[2], tensor_shapes[3], shapes[2]}) {
    const auto u = rounded<bfloat16>(uniform(s.voxels() * s.gate, 20)),
               x = rounded<bfloat16>(uniform(s.voxels() * s.skip, 21)),
               dy = rounded<bfloat16>(uniform(s.voxels() * s.skip, 22));
    const Buffer<float> mean(device(), uniform(s.gate, 23)), variance(device(), uniform(s.gate, 24, 0.5f, 2)),
        gamma(device(), uniform(s.gate, 25)), beta(device(), uniform(s.gate, 26, 0.5f, 1));
    const InputNorm norm{.mean = mean.data(),
                         .variance = variance.data(),
                         .gamma = gamma.data(),
                         .beta = beta.data(),
                         .params = {.activation = {.kind = ActivationKind::relu}}};
    Activation<bfloat16> in_place(device(), s.n, s.d, s.h, s.w, s.gate);
    in_place.set(stored<bfloat16>(u));
    norm3d_apply(in_place.view(), in_place, norm.mean, norm.variance, norm.gamma, norm.beta, nullptr,
                 norm.params, exec());
    // Of dg before it is rounded to 8 bits.
    const auto expect_sums = [&](const std::vector<float>& sums, const std::vector<float>& dg) {
      const auto channels = static_cast<size_t>(s.gate);
      const auto m = mean.get(), var = variance.get(), w = gamma.get(), b = beta.get();
      for (size_t c = 0; c < channels; ++c) {
        double sum = 0, product = 0, of_sum = 1e-6, of_product = 1e-6;
        for (size_t i = c; i < dg.size(); i += channels) {
          const double centred = double{u[i]} - double{m[c]};
          if (centred / std::sqrt(double{var[c]} + 1e-5) * double{w[c]} + double{b[c]} <= 0) continue;
          sum += double{dg[i]}, product += double{dg[i]} * centred;
          of_sum += std::abs(double{dg[i]}), of_product += std::abs(double{dg[i]} * centred);
        }
        EXPECT_NEAR(sums[2 * c], sum, of_sum / 256) << s.gate << " channels, " << c;
        EXPECT_NEAR(sums[2 * c + 1], product, of_product / 256) << s.gate << " channels, " << c;
      }
    };
    const PerWeight<float> w = random_weights(s, 1), before = random_weights(s, 30);
    const auto run = [&](const std::vector<float>& g, bool with_norm) {
      FusedGateOf<bfloat16> gate(device(), s, w, before, given_statistics(s), false, placements()[2], exec());
      if (with_norm) gate.set_norm_of_g(norm);
      gate.run(g, x, dy);
      std::vector<std::vector<float>> results{gate.y, gate.psi, gate.dg, gate.dx};
      for (size_t i = 0; i < weight_count; ++i) results.push_back(gate.gradient(i));
      if (with_norm) expect_sums(gate.norm_sums, gate.dg);
      return results;
    };
    EXPECT_EQ(run(u, true), run(to_floats(in_place.get()), false)) << s.gate << " channels";
  }
}

// As ExactOnIntegers, on the channels of both widths of loads and with groups of intermediate channels.
TEST_P(AttentionGateBfloat16Test, TensorCoresAreExactOnIntegers) {
  for (const int64_t c : {16, 32, 64}) {
    const Shape s{1, 2, 1, 19, c, c, c / 2};
    const auto f = static_cast<size_t>(c / 2);
    PerWeight<float> w;
    for (size_t i = 0; i < weight_count; ++i)
      w[i] = integers(weight_sizes(s)[i], 40 + static_cast<uint32_t>(i), 2);
    w[weight_psi].assign(f, 0);
    w[bias_psi] = w[beta_psi] = {0};
    w[gamma_psi] = {2};
    const Statistics t{{Doubles(f, 1), Doubles(f, 1)}, {Doubles(f, -1), Doubles(f, 1)}, {{0}, {1}}};
    const auto g = integers(s.voxels() * c, 1), x = integers(s.voxels() * c, 2),
               dy = integers(s.voxels() * c, 3);
    Oracle o = make_oracle(s, w, g, x, true);
    o.norm.eps = 0;
    o.t = t;
    o.forward();
    o.backward(to_doubles(dy));
    FusedGateOf<bfloat16> gate(device(), s, w, w, t, true, {1, 16, 8}, exec(), 0);
    gate.run(g, x, dy);
    EXPECT_TRUE(all_close(gate.psi, Doubles(o.psi.size(), 0), 0));
    EXPECT_TRUE(all_close(gate.y, o.y, 0));
    EXPECT_TRUE(all_close(gate.dx, o.dx, 0));
    EXPECT_TRUE(all_close(gate.dg, o.dg, 0));
    EXPECT_GT(largest(o.dw[weight_psi]), 0);
    for (size_t i = 0; i < weight_count; ++i) {
      Doubles total = to_doubles(w[i]);
      for (size_t j = 0; j < total.size(); ++j) total[j] += o.dw[i][j];
      EXPECT_TRUE(all_close(gate.gradient(i), total, 0)) << "gradient " << i;
    }
  }
}

TEST_P(AttentionGateBfloat16Test, TensorCoresAgreeOnManyTiles) {
  check_bfloat16({1, 1, 31, 85, 16, 16, 8}, false, {}, exec());
  check_bfloat16({2, 1, 17, 31, 32, 32, 16}, false, {1, 0, 0}, exec());
}

TEST_P(AttentionGateBfloat16Test, TheGradientSoFarIsAdded) {
  for (const int64_t channels : {16, 32, 64, 128, 6}) {
    SCOPED_TRACE(channels);
    const int64_t f = channels / 2, voxels = 2 * 3 * 5 * 7, count = voxels * channels;
    const std::vector<int64_t> sizes{f * channels, f, f, f, f * channels, f, f, f, f, 1, 1, 1};
    std::vector<std::unique_ptr<Buffer<float>>> weights, alone, together, statistics;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto n = sizes[i];
      weights.push_back(std::make_unique<Buffer<float>>(device(), uniform(n, static_cast<uint32_t>(i))));
      for (auto* gradients : {&alone, &together}) {
        gradients->push_back(
            std::make_unique<Buffer<float>>(device(), std::vector<float>(static_cast<size_t>(n), 0.0f)));
      }
    }
    for (const int64_t n : {f, f, f, f, int64_t{1}, int64_t{1}})
      statistics.push_back(std::make_unique<Buffer<float>>(device(), n));
    const auto w = [&](size_t i) { return weights[i]->data(); };
    const auto gradients = [](const auto& b) {
      const auto d = [&](size_t i) { return b[i]->data(); };
      return AttentionGateGradients{d(0), d(1), d(2), d(3), d(4), d(5), d(6), d(7), d(8), d(9), d(10), d(11)};
    };
    const auto t = [&](size_t i) { return statistics[i]->data(); };
    const auto random = [&](uint32_t seed) {
      return std::make_unique<Buffer<bfloat16>>(device(), stored<bfloat16>(uniform(count, seed)));
    };
    const auto g = random(20), x = random(21), dy = random(22), so_far = random(23), y = random(24);
    const auto dg = random(25), dx = random(26), dg_sum = random(27), dx_sum = random(28);
    const Buffer<float> scores(device(), voxels);
    const auto view = [&](const auto& b) { return contiguous_view(b->data(), 2, 3, 5, 7, channels); };
    const View<float> of_scores = contiguous_view(scores.data(), 2, 3, 5, 7, 1);
    const AttentionGateWeights weight{w(0), w(1), w(2), w(3), w(4),  w(5),
                                      w(6), w(7), w(8), w(9), w(10), w(11)};
    const AttentionGateStatistics statistic{t(0), t(1), t(2), t(3), t(4), t(5)};
    const AttentionGateParams params{
        .gate_channels = channels, .skip_channels = channels, .intermediate_channels = f};
    attention_gate_forward(view(y), of_scores, statistic, view(g), view(x), weight, params, exec());
    attention_gate_backward(view(dg), view(dx), gradients(alone), view(dy), of_scores, statistic, view(g),
                            view(x), weight, params, exec());
    attention_gate_backward(view(dg_sum), view(dx_sum), gradients(together), view(dy), of_scores, statistic,
                            view(g), view(x), weight, params, view(so_far), nullptr, exec());
    const std::vector<float> own = to_floats(dg->get()), before = to_floats(so_far->get()),
                             sum = to_floats(dg_sum->get());
    for (size_t i = 0; i < sum.size(); ++i) {
      const float expected = own[i] + before[i];
      ASSERT_TRUE(std::abs(sum[i] - expected) <= (std::abs(own[i]) + std::abs(expected)) / 256)
          << i << ": " << sum[i] << " " << expected;
    }
    EXPECT_EQ(to_floats(dx_sum->get()), to_floats(dx->get()));
    for (size_t i = 0; i < sizes.size(); ++i) EXPECT_EQ(together[i]->get(), alone[i]->get()) << i;
  }
}

#endif

TEST(AttentionGateInPlace, OnTheCpuGradientsMayTakeThePlacesOfThoseTheyAreMadeFrom) {
  constexpr DeviceKind cpu = DeviceKind::cpu;
  const Shape s{1, 3, 5, 17, 20, 16, 9};
  const auto w = random_weights(s, 1);
  for_each_instruction_set(cpu, [&] {
    Workspace workspace(cpu);
    const Exec on_cpu{cpu, nullptr, &workspace};
    for (const Placement p : placements()) {
      const auto filled = [&](int64_t channels, uint32_t seed) {
        auto result = std::make_unique<Activation<float>>(cpu, s.n, s.d, s.h, s.w, channels, p);
        result->set(uniform(s.voxels() * channels, seed));
        return result;
      };
      const auto g = filled(s.gate, 20), x = filled(s.skip, 21), dy = filled(s.skip, 22),
                 so_far = filled(s.gate, 23), y = filled(s.skip, 24), psi = filled(1, 25);
      const auto dx = filled(s.skip, 26), dg = filled(s.gate, 27);
      std::array<std::unique_ptr<Buffer<float>>, weight_count> weights, apart, in_place;
      for (size_t i = 0; i < weight_count; ++i) {
        weights[i] = std::make_unique<Buffer<float>>(cpu, w[i]);
        apart[i] = std::make_unique<Buffer<float>>(cpu, w[i]);
        in_place[i] = std::make_unique<Buffer<float>>(cpu, w[i]);
      }
      const auto at = [&](size_t i) { return weights[i]->data(); };
      const AttentionGateWeights weight{at(0), at(1), at(2), at(3), at(4),  at(5),
                                        at(6), at(7), at(8), at(9), at(10), at(11)};
      const auto gradients = [&](auto& of) {
        const auto to = [&](size_t i) { return of[i]->data(); };
        return AttentionGateGradients{to(0), to(1), to(2), to(3), to(4),  to(5),
                                      to(6), to(7), to(8), to(9), to(10), to(11)};
      };
      const Buffer<float> statistic(cpu, 4 * s.intermediate + 2);
      float* const t = statistic.data();
      const int64_t f = s.intermediate;
      const AttentionGateStatistics statistics{t, t + f, t + 2 * f, t + 3 * f, t + 4 * f, t + 4 * f + 1};
      const AttentionGateParams params{
          .gate_channels = s.gate, .skip_channels = s.skip, .intermediate_channels = f};
      attention_gate_forward(*y, *psi, statistics, *g, *x, weight, params, on_cpu);
      attention_gate_backward(*dg, *dx, gradients(apart), *dy, psi->view(), statistics, *g, *x, weight,
                              params, *so_far, on_cpu);
      attention_gate_backward(*so_far, *dy, gradients(in_place), *dy, psi->view(), statistics, *g, *x, weight,
                              params, *so_far, on_cpu);
      EXPECT_EQ(so_far->get(), dg->get());
      EXPECT_EQ(dy->get(), dx->get());
      for (size_t i = 0; i < weight_count; ++i) EXPECT_EQ(in_place[i]->get(), apart[i]->get()) << i;
    }
  });
}

TEST(AttentionGateBfloat16, CpuRefuses) {
  constexpr DeviceKind cpu = DeviceKind::cpu;
  Workspace workspace(cpu);
  const Exec on_cpu{cpu, nullptr, &workspace};
  const Activation<bfloat16> x(cpu, 1, 1, 1, 4, 2);
  const Activation<float> scores(cpu, 1, 1, 1, 4, 1);
  Buffer<float> b(cpu, 8);
  float* const p = b.data();
  const AttentionGateWeights weights{p, p, p, p, p, p, p, p, p, p, p, p};
  const AttentionGateGradients gradients{p, p, p, p, p, p, p, p, p, p, p, p};
  const AttentionGateParams params{2, 2, 2, 1e-5f, true};
  EXPECT_THROW(attention_gate_forward(x, scores, {}, x, x, weights, params, on_cpu), std::invalid_argument);
  EXPECT_THROW(attention_gate_backward(x, x, gradients, x, scores.view(), {}, x, x, weights, params, on_cpu),
               std::invalid_argument);
}

TEST(AttentionGateThreads, SameBitsForAnyNumberOfThreads) {
  constexpr DeviceKind cpu = DeviceKind::cpu;
  const Shape s{2, 3, 5, 11, 16, 12, 8};
  const auto w = random_weights(s, 1);
  const auto g = uniform(s.voxels() * s.gate, 20), x = uniform(s.voxels() * s.skip, 21),
             dy = uniform(s.voxels() * s.skip, 22);
  expect_thread_independent([&] {
    Workspace workspace(cpu);
    FusedGate gate(cpu, s, w, w, given_statistics(s), false, {}, {cpu, nullptr, &workspace});
    gate.run(g, x, dy);
    std::vector<std::vector<float>> result{gate.y, gate.psi, gate.dg, gate.dx};
    for (size_t i = 0; i < weight_count; ++i) result.push_back(gate.gradient(i));
    return result;
  });
}

TEST_P(AttentionGateTest, WrongArgumentsAreErrors) {
  const Shape s{1, 1, 1, 4, 3, 2, 2};
  const auto w = random_weights(s, 1);
  const auto g = uniform(12, 1), x = uniform(8, 2);
  const auto run = [&](const Shape& shape) {
    FusedGate gate(device(), shape, w, w, given_statistics(s), false, {}, exec());
    gate.run(g, x, x);
  };
  EXPECT_NO_THROW(run(s));
  Activation<float> vg(device(), 1, 1, 1, 4, 3, g), vx(device(), 1, 1, 1, 4, 2, x),
      y(device(), 1, 1, 1, 4, 2), psi(device(), 1, 1, 1, 4, 1), narrow(device(), 1, 1, 1, 3, 1);
  const Buffer<float> b(device(), 8);
  const float* const p = b.data();
  const AttentionGateWeights weights{p, p, p, p, p, p, p, p, p, p, p, p};
  AttentionGateWeights missing = weights;
  missing.gamma_x = nullptr;
  const AttentionGateParams params{3, 2, 2, 1e-5f, true};
  EXPECT_THROW(attention_gate_forward(y, psi, {}, vg, vx, missing, params, exec()), std::invalid_argument);
  EXPECT_THROW(attention_gate_forward(y, narrow, {}, vg, vx, weights, params, exec()), std::invalid_argument);
  EXPECT_THROW(attention_gate_forward(y, psi, {}, vx, vx, weights, params, exec()), std::invalid_argument);
  EXPECT_THROW(attention_gate_backward(vg, y, {}, vx, psi.view(), {}, vg, vx, weights, params, exec()),
               std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
