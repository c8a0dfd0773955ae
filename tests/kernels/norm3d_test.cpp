#include "kernels/norm3d/norm3d.h"

#include <cmath>

#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/finite_difference.h"
#include "support/instruction_sets.h"
#include "support/norm_oracle.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using Norm3dTest = DeviceTest;
VG_ON_EVERY_DEVICE(Norm3dTest);

struct Extents {
  int64_t n, d, h, w, c;
  int64_t count() const { return n * d * h * w * c; }
  NormShape norm() const { return {n, d * h * w, c}; }
};
const Extents shapes[] = {{1, 1, 1, 2, 1},  {2, 3, 2, 5, 4},    {2, 2, 3, 7, 17}, {3, 1, 2, 3, 8},
                          {1, 2, 5, 2, 33}, {1, 1, 3, 131, 16}, {1, 1, 1, 3, 300}};

// On CUDA, where these tests may run interpreted, every shape takes a third of the cases, and other cases
// than its neighbours.
bool takes(DeviceKind device, const Extents& shape, size_t case_index) {
  return device == DeviceKind::cpu || (case_index + static_cast<size_t>(&shape - shapes)) % 3 == 0;
}

// Every combination of group, affine map, statistics and activation.
struct Case {
  Norm3dParams params;
  bool affine;
};
std::vector<Case> cases(int64_t channels) {
  std::vector<Case> result;
  for (const bool per_instance : {false, true}) {
    for (const bool affine : {false, true}) {
      for (const bool fixed : {false, true}) {
        const auto add = [&](ActivationKind kind, int64_t slopes) {
          result.push_back({{per_instance, 1e-3f, fixed, {kind, 0.25f, slopes}}, affine});
        };
        add(ActivationKind::identity, 1);
        add(ActivationKind::relu, 1);
        add(ActivationKind::leaky_relu, 1);
        add(ActivationKind::prelu, 1);
        if (channels > 1) add(ActivationKind::prelu, channels);
      }
    }
  }
  return result;
}

testing::Message describe(const Extents& s, const Case& k) {
  return testing::Message() << "n " << s.n << ", voxels " << s.d * s.h * s.w << ", channels " << s.c
                            << (k.params.per_instance ? ", instance" : ", batch")
                            << (k.affine ? ", affine" : "") << (k.params.fixed_statistics ? ", fixed" : "")
                            << ", activation " << static_cast<int>(k.params.activation.kind) << " with "
                            << k.params.activation.slope_count << " slopes";
}

// Runs backward into non-zero parameter gradients and takes what was there off again.
struct Weights {
  Weights(DeviceKind device, const std::vector<float>& gamma, const std::vector<float>& beta,
          const std::vector<float>& slope, const Case& k)
      : case_(k),
        values_{gamma, beta, slope},
        gamma_(device, gamma),
        beta_(device, beta),
        slope_(device, slope),
        dgamma_(device, gamma),
        dbeta_(device, gamma),
        dslope_(device, slope) {}
  bool prelu() const { return case_.params.activation.kind == ActivationKind::prelu; }
  const float* gamma() const { return case_.affine ? gamma_.data() : nullptr; }
  const float* beta() const { return case_.affine ? beta_.data() : nullptr; }
  const float* slope() const { return prelu() ? slope_.data() : nullptr; }
  float* dgamma() const { return case_.affine ? dgamma_.data() : nullptr; }
  float* dbeta() const { return case_.affine ? dbeta_.data() : nullptr; }
  float* dslope() const { return prelu() ? dslope_.data() : nullptr; }
  NormWeights oracle() const {
    NormWeights w;
    if (case_.affine) w.gamma = to_doubles(values_[0]), w.beta = to_doubles(values_[1]);
    if (prelu()) w.slope = to_doubles(values_[2]);
    return w;
  }
  void expect_gradients(const NormGradients& e, double tolerance) const {
    const auto expect = [&](const Buffer<float>& actual, const Doubles& expected,
                            const std::vector<float>& before) {
      Doubles total = to_doubles(before);
      for (size_t i = 0; i < expected.size(); ++i) total[i] += expected[i];
      EXPECT_TRUE(all_close(actual.get(), total, tolerance));
    };
    expect(dgamma_, e.dgamma, values_[0]);
    expect(dbeta_, e.dbeta, values_[0]);
    expect(dslope_, e.dslope, values_[2]);
  }

 private:
  Case case_;
  std::vector<float> values_[3];
  Buffer<float> gamma_, beta_, slope_, dgamma_, dbeta_, dslope_;
};

int64_t statistics_count(const Extents& s, const Case& k) {
  return norm3d_groups(s.n, s.c, k.params);
}

// With given statistics whose deviation is a power of two everything is exact: indexing, at tolerance zero.
TEST_P(Norm3dTest, ExactOnIntegersOnEveryPlacement) {
  for_each_instruction_set(device(), [&] {
    for (const Extents& s : shapes) {
      size_t turn = 0, index = 0;
      for (Case k : cases(s.c)) {
        if (!takes(device(), s, index++) || !k.params.fixed_statistics) continue;
        k.params.eps = 0;
        SCOPED_TRACE(describe(s, k));
        const Placement p = placements()[turn++ % placements().size()];
        const int64_t groups = statistics_count(s, k);
        const auto x = integers(s.count(), 1), dy = integers(s.count(), 2), mean = integers(groups, 3);
        std::vector<float> variance(static_cast<size_t>(groups));
        for (size_t i = 0; i < variance.size(); ++i) variance[i] = i % 3 == 0 ? 0.25f : i % 3 == 1 ? 1 : 4;
        const Weights w(device(), integers(s.c, 4), integers(s.c, 5),
                        integers(k.params.activation.slope_count, 6), k);
        const Buffer<float> m(device(), mean), v(device(), variance);
        Activation<float> vx(device(), s.n, s.d, s.h, s.w, s.c, x, p),
            g(device(), s.n, s.d, s.h, s.w, s.c, dy), y(device(), s.n, s.d, s.h, s.w, s.c, p),
            dx(device(), s.n, s.d, s.h, s.w, s.c);
        norm3d_apply(y, vx, m.data(), v.data(), w.gamma(), w.beta(), w.slope(), k.params, exec());
        norm3d_backward(dx, w.dgamma(), w.dbeta(), w.dslope(), g, vx, m.data(), v.data(), w.gamma(), w.beta(),
                        w.slope(), k.params, exec());
        const NormStatistics t{to_doubles(mean), to_doubles(variance)};
        EXPECT_TRUE(all_close(y.get(), norm_apply(to_doubles(x), t, w.oracle(), s.norm(), k.params), 0));
        const NormGradients e =
            norm_backward(to_doubles(dy), to_doubles(x), t, w.oracle(), s.norm(), k.params);
        EXPECT_TRUE(all_close(dx.get(), e.dx, 0));
        w.expect_gradients(e, 0);
      }
    }
  });
}

// Statistics, apply and backward against the oracle.
void check_on_floats(DeviceKind device, const Exec& exec, const Extents& s, const Case& k,
                     const Placement& p) {
  SCOPED_TRACE(describe(s, k));
  const int64_t groups = statistics_count(s, k);
  auto x = uniform(s.count(), 1);
  const auto dy = uniform(s.count(), 2);
  for (size_t i = 0; i < x.size(); ++i) x[i] += static_cast<float>(i % static_cast<size_t>(s.c) % 7);
  const Weights w(device, uniform(s.c, 4), uniform(s.c, 5), uniform(k.params.activation.slope_count, 6), k);
  const Buffer<float> m(device, groups), v(device, groups);
  Activation<float> vx(device, s.n, s.d, s.h, s.w, s.c, x, p), g(device, s.n, s.d, s.h, s.w, s.c, dy, p),
      y(device, s.n, s.d, s.h, s.w, s.c), dx(device, s.n, s.d, s.h, s.w, s.c, p);
  norm3d_statistics(m.data(), v.data(), vx, k.params, exec);
  norm3d_apply(y, vx, m.data(), v.data(), w.gamma(), w.beta(), w.slope(), k.params, exec);
  norm3d_backward(dx, w.dgamma(), w.dbeta(), w.dslope(), g, vx, m.data(), v.data(), w.gamma(), w.beta(),
                  w.slope(), k.params, exec);
  const NormStatistics t = norm_statistics(to_doubles(x), s.norm(), k.params);
  EXPECT_TRUE(all_close(m.get(), t.mean, 1e-6, 1e-6));
  EXPECT_TRUE(all_close(v.get(), t.variance, 1e-6, 1e-6));
  const double magnitude =
      1 / std::sqrt(std::max(1e-3, *std::min_element(t.variance.begin(), t.variance.end())));
  EXPECT_TRUE(
      all_close(y.get(), norm_apply(to_doubles(x), t, w.oracle(), s.norm(), k.params), 4e-6 * magnitude));
  const NormGradients e = norm_backward(to_doubles(dy), to_doubles(x), t, w.oracle(), s.norm(), k.params);
  EXPECT_TRUE(all_close(dx.get(), e.dx, 1e-5 * magnitude * magnitude));
  w.expect_gradients(e, float_tolerance(s.count(), 4 * magnitude));
}

TEST_P(Norm3dTest, StatisticsApplyAndBackwardOnFloats) {
  for_each_instruction_set(device(), [&] {
    for (const Extents& s : shapes) {
      if (s.d * s.h * s.w < 2) continue;
      size_t turn = 0, index = 0;
      for (const Case& k : cases(s.c)) {
        if (!takes(device(), s, index++)) continue;
        check_on_floats(device(), exec(), s, k, placements()[turn++ % placements().size()]);
      }
    }
  });
}

// On the CPU: enough rows for many pieces of several stretches, the last ones incomplete.
TEST(Norm3dStretches, ManyPieces) {
  constexpr DeviceKind cpu = DeviceKind::cpu;
  Workspace workspace(cpu);
  const Exec exec{cpu, nullptr, &workspace};
  for_each_instruction_set(cpu, [&] {
    for (const Extents& s : {Extents{2, 5, 41, 5, 33}, Extents{3, 2, 29, 80, 4}, Extents{2, 3, 7, 140, 17}}) {
      for (const bool per_instance : {false, true}) {
        const ActivationKind kind = per_instance ? ActivationKind::prelu : ActivationKind::relu;
        check_on_floats(cpu, exec, s, {{per_instance, 1e-3f, false, {kind, 0.25f, 1}}, true},
                        placements().back());
      }
    }
  });
}

// The mean is ten thousand deviations away from zero: sums of squares in float would leave nothing.
TEST_P(Norm3dTest, StatisticsWhereTheMeanIsLarge) {
  const int64_t count = 5 * 7 * 9;
  auto x = uniform(count * 3, 1);
  for (float& v : x) v += 10000.0f;
  x[0] = x[1] = x[2] = 0;  // and the first voxel is none of them
  for_each_instruction_set(device(), [&] {
    for (const bool outlier : {true, false}) {
      if (!outlier) x[0] = x[1] = x[2] = 10000.0f;
      const Buffer<float> m(device(), 3), v(device(), 3);
      Activation<float> vx(device(), 1, 5, 7, 9, 3, x);
      norm3d_statistics(m.data(), v.data(), vx, {}, exec());
      const NormStatistics t = norm_statistics(to_doubles(x), {1, count, 3}, {});
      EXPECT_TRUE(all_close(m.get(), t.mean, 0, 1e-7));
      EXPECT_TRUE(all_close(v.get(), t.variance, 0, 1e-5));
    }
  });
}

TEST_P(Norm3dTest, ConstantChannelAndNan) {
  std::vector<float> x(40, 0.1f);
  for (size_t i = 0; i < x.size(); i += 2) x[i] = 3.3f;  // channel 0; channel 1 is 0.1
  const Buffer<float> m(device(), 2), v(device(), 2);
  Activation<float> vx(device(), 1, 1, 4, 5, 2, x), y(device(), 1, 1, 4, 5, 2);
  norm3d_statistics(m.data(), v.data(), vx, {}, exec());
  EXPECT_TRUE(all_close(m.get(), std::vector<float>{3.3f, 0.1f}, 1e-7));
  EXPECT_TRUE(all_close(v.get(), std::vector<float>{0, 0}, 1e-12));
  norm3d_apply(y, vx, m.data(), v.data(), nullptr, nullptr, nullptr, {}, exec());
  EXPECT_TRUE(all_close(y.get(), std::vector<float>(40, 0), 1e-4));
  x[6] = NAN;
  vx.set(x);
  norm3d_statistics(m.data(), v.data(), vx, {}, exec());
  EXPECT_TRUE(std::isnan(m.get()[0]) && std::isnan(v.get()[0]));
  EXPECT_FALSE(std::isnan(m.get()[1]) || std::isnan(v.get()[1]));
}

TEST_P(Norm3dTest, WorksInPlace) {
  const auto x = uniform(2 * 12 * 5, 1), dy = uniform(2 * 12 * 5, 2);
  const Norm3dParams params{true, 1e-5f, false, {ActivationKind::leaky_relu, 0.1f, 1}};
  const Buffer<float> m(device(), 10), v(device(), 10);
  Activation<float> vx(device(), 2, 1, 3, 4, 5, x), g(device(), 2, 1, 3, 4, 5, dy),
      y(device(), 2, 1, 3, 4, 5), dx(device(), 2, 1, 3, 4, 5);
  const auto backward = [&](View<float> out) {
    norm3d_backward(out, nullptr, nullptr, nullptr, g, vx, m.data(), v.data(), nullptr, nullptr, nullptr,
                    params, exec());
  };
  norm3d_statistics(m.data(), v.data(), vx, params, exec());
  backward(dx);
  backward(g);
  EXPECT_EQ(g.get(), dx.get());
  norm3d_apply(y, vx, m.data(), v.data(), nullptr, nullptr, nullptr, params, exec());
  norm3d_apply(vx, vx, m.data(), v.data(), nullptr, nullptr, nullptr, params, exec());
  EXPECT_EQ(vx.get(), y.get());
}

// The oracle's derivatives against central differences of its own forward pass.
TEST(Norm3dOracle, AgreesWithFiniteDifferences) {
  const NormShape s{2, 6, 3};
  for (const Case& k : cases(3)) {
    SCOPED_TRACE(describe({2, 1, 2, 3, 3}, k));
    Doubles x = to_doubles(uniform(36, 1));
    const Doubles dy = to_doubles(uniform(36, 2));
    NormWeights w;
    if (k.affine) w.gamma = to_doubles(uniform(3, 3)), w.beta = to_doubles(uniform(3, 4));
    if (k.params.activation.kind == ActivationKind::prelu)
      w.slope = to_doubles(uniform(k.params.activation.slope_count, 5));
    const NormStatistics fixed = norm_statistics(x, s, k.params);
    const auto loss = [&] {
      const Doubles y =
          norm_apply(x, k.params.fixed_statistics ? fixed : norm_statistics(x, s, k.params), w, s, k.params);
      double sum = 0;
      for (size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
      return sum;
    };
    const NormGradients e = norm_backward(dy, x, fixed, w, s, k.params);
    EXPECT_TRUE(all_close(finite_difference(x, loss), e.dx, 1e-6));
    EXPECT_TRUE(all_close(finite_difference(w.gamma, loss), e.dgamma, 1e-6));
    EXPECT_TRUE(all_close(finite_difference(w.beta, loss), e.dbeta, 1e-6));
    EXPECT_TRUE(all_close(finite_difference(w.slope, loss), e.dslope, 1e-6));
  }
}

TEST(Norm3dThreads, SameBitsForAnyNumberOfThreads) {
  constexpr DeviceKind cpu = DeviceKind::cpu;
  const Extents s{2, 12, 19, 11, 20};
  const auto x = uniform(s.count(), 1), dy = uniform(s.count(), 2);
  expect_thread_independent([&] {
    Workspace workspace(cpu);
    const Exec exec{cpu, nullptr, &workspace};
    const Norm3dParams params{false, 1e-5f, false, {ActivationKind::prelu, 0, 1}};
    const Buffer<float> m(cpu, s.c), v(cpu, s.c), gamma(cpu, uniform(s.c, 3)), dgamma(cpu, uniform(s.c, 4)),
        dbeta(cpu, uniform(s.c, 4)), slope(cpu, std::vector<float>{0.3f}),
        dslope(cpu, std::vector<float>{1.0f});
    Activation<float> vx(cpu, s.n, s.d, s.h, s.w, s.c, x), g(cpu, s.n, s.d, s.h, s.w, s.c, dy),
        y(cpu, s.n, s.d, s.h, s.w, s.c), dx(cpu, s.n, s.d, s.h, s.w, s.c);
    norm3d_statistics(m.data(), v.data(), vx, params, exec);
    norm3d_apply(y, vx, m.data(), v.data(), gamma.data(), gamma.data(), slope.data(), params, exec);
    norm3d_backward(dx, dgamma.data(), dbeta.data(), dslope.data(), g, vx, m.data(), v.data(), gamma.data(),
                    gamma.data(), slope.data(), params, exec);
    return std::vector{m.get(), v.get(), y.get(), dx.get(), dgamma.get(), dbeta.get(), dslope.get()};
  });
}

TEST_P(Norm3dTest, UpdateRunningStatistics) {
  const std::vector<float> mean{1, -2, 3}, variance{4, 5, 6};
  const Buffer<float> m(device(), mean), v(device(), variance),
      running_mean(device(), std::vector<float>{0, 8, 4}),
      running_variance(device(), std::vector<float>{1, 1, 2});
  norm3d_update_running(running_mean.data(), running_variance.data(), m.data(), v.data(), 3, 5, 0.25f,
                        exec());
  EXPECT_EQ(running_mean.get(), (std::vector<float>{0.25f, 5.5f, 3.75f}));
  EXPECT_EQ(running_variance.get(), (std::vector<float>{2, 2.3125f, 3.375f}));
  EXPECT_THROW(norm3d_update_running(running_mean.data(), running_variance.data(), m.data(), v.data(), 3, 1,
                                     0.1f, exec()),
               std::invalid_argument);
}

TEST_P(Norm3dTest, WrongArgumentsAreErrors) {
  Activation<float> a(device(), 1, 1, 1, 4, 3), b(device(), 1, 1, 1, 4, 2);
  const Buffer<float> s(device(), 3);
  float* const p = s.data();
  EXPECT_THROW(norm3d_apply(a, b, p, p, nullptr, nullptr, nullptr, {}, exec()), std::invalid_argument);
  EXPECT_THROW(norm3d_apply(a, a, p, p, p, nullptr, nullptr, {}, exec()), std::invalid_argument);
  const Norm3dParams sigmoid{false, 1e-5f, false, {ActivationKind::sigmoid, 0, 1}},
      prelu{false, 1e-5f, false, {ActivationKind::prelu, 0, 2}};
  EXPECT_THROW(norm3d_apply(a, a, p, p, nullptr, nullptr, nullptr, sigmoid, exec()), std::invalid_argument);
  EXPECT_THROW(norm3d_apply(a, a, p, p, nullptr, nullptr, p, prelu, exec()), std::invalid_argument);
  EXPECT_THROW(norm3d_backward(b, nullptr, nullptr, nullptr, b, b, p, p, nullptr, nullptr, p, prelu, exec()),
               std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
