// Activations in bfloat16: CUDA only.
#include "kernels/attention_gate/attention_gate.h"

#include "support/attention_gate_check.h"
#include "support/odd_extents.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using namespace gate;

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

TEST_P(AttentionGateBfloat16Test, OddExtentsAndChannels) {
  for (const OddExtents& e : odd_extents)
    check_bfloat16({1, e.d, e.h, e.w, 16, 16, 8}, false, {1, 8, 24}, exec());
  size_t turn = 0;
  for (const OddChannels& c : odd_channels) {
    const OddExtents& e = odd_extents[turn++ % 6];
    check_bfloat16({1, e.d, e.h, e.w, c.in, c.out, 3}, turn % 2 == 0, {}, exec());
  }
}

// Norms of g and x that are applied as these are read: the bits of those in passes of their own, also where
// it falls back. What the norm of g needs of dg is summed on the way.
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
    // Of x without an affine map, with another activation.
    const Buffer<float> mean_x(device(), uniform(s.skip, 33)),
        variance_x(device(), uniform(s.skip, 34, 0.5f, 2));
    const InputNorm norm_x{.mean = mean_x.data(),
                           .variance = variance_x.data(),
                           .params = {.activation = {.kind = ActivationKind::leaky_relu}}};
    Activation<bfloat16> x_in_place(device(), s.n, s.d, s.h, s.w, s.skip);
    x_in_place.set(stored<bfloat16>(x));
    norm3d_apply(x_in_place.view(), x_in_place, norm_x.mean, norm_x.variance, nullptr, nullptr, nullptr,
                 norm_x.params, exec());
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
    const auto run = [&](const std::vector<float>& g, const std::vector<float>& of_x, bool with_norm) {
      FusedGateOf<bfloat16> gate(device(), s, w, before, given_statistics(s), false, placements()[3], exec());
      if (with_norm) gate.set_norms(norm, norm_x);
      gate.run(g, of_x, dy);
      std::vector<std::vector<float>> results{gate.y, gate.psi, gate.dg, gate.dx};
      for (size_t i = 0; i < weight_count; ++i) results.push_back(gate.gradient(i));
      if (with_norm) expect_sums(gate.norm_sums, gate.dg);
      return results;
    };
    EXPECT_EQ(run(u, x, true), run(to_floats(in_place.get()), to_floats(x_in_place.get()), false))
        << s.gate << " channels";
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

}  // namespace
}  // namespace vg::test
