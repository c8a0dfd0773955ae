#include "kernels/attention_gate/attention_gate.h"

#include "support/attention_gate_check.h"
#include "support/finite_difference.h"
#include "support/instruction_sets.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using namespace gate;
using AttentionGateTest = DeviceTest;
VG_ON_EVERY_DEVICE(AttentionGateTest);

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
