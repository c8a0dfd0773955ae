#include "kernels/activation/activation.h"

#include <cmath>

#include "support/bfloat16_cases.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using ActivationTest = DeviceTest;
VG_ON_EVERY_DEVICE(ActivationTest);

struct Extents {
  int64_t n, d, h, w, c;
  int64_t count() const { return n * d * h * w * c; }
};
const Extents shapes[] = {{1, 1, 1, 1, 1}, {2, 1, 3, 5, 4},  {1, 2, 3, 7, 17},
                          {1, 1, 2, 3, 8}, {1, 1, 5, 2, 33}, {1, 1, 1, 20000, 1}};
const ActivationKind kinds[] = {ActivationKind::identity, ActivationKind::relu, ActivationKind::leaky_relu,
                                ActivationKind::prelu, ActivationKind::sigmoid};

double sigmoid(double v) {
  return 1 / (1 + std::exp(-v));
}

double slope_at(const ActivationParams& p, const std::vector<float>& slope, int64_t channel) {
  if (p.kind == ActivationKind::relu) return 0;
  if (p.kind == ActivationKind::leaky_relu) return static_cast<double>(p.negative_slope);
  if (p.kind != ActivationKind::prelu) return 1;
  return static_cast<double>(slope[static_cast<size_t>(p.slope_count == 1 ? 0 : channel)]);
}

double value(const ActivationParams& p, double v, double slope) {
  if (p.kind == ActivationKind::sigmoid) return sigmoid(v);
  return v > 0 ? v : slope * v;
}

double derivative(const ActivationParams& p, double v, double slope) {
  if (p.kind == ActivationKind::sigmoid) return sigmoid(v) * (1 - sigmoid(v));
  return v > 0 ? 1 : slope;
}

struct Expected {
  std::vector<double> y, dx, dslope;
};

Expected oracle(const std::vector<float>& x, const std::vector<float>& dy, const std::vector<float>& slope,
                int64_t channels, const ActivationParams& p, const std::vector<float>& dslope_before) {
  Expected e{{}, {}, {dslope_before.begin(), dslope_before.end()}};
  for (size_t i = 0; i < x.size(); ++i) {
    const auto channel = static_cast<int64_t>(i) % channels;
    const double v = static_cast<double>(x[i]), g = static_cast<double>(dy[i]),
                 s = slope_at(p, slope, channel);
    e.y.push_back(value(p, v, s));
    e.dx.push_back(g * derivative(p, v, s));
    if (p.kind == ActivationKind::prelu && v < 0)
      e.dslope[static_cast<size_t>(p.slope_count == 1 ? 0 : channel)] += g * v;
  }
  return e;
}

// Slopes of prelu: one or one a channel; other kinds have one case.
std::vector<int64_t> slope_counts(ActivationKind kind, int64_t channels) {
  if (kind == ActivationKind::prelu && channels > 1) return {1, channels};
  return {1};
}

TEST_P(ActivationTest, ForwardAndBackwardOnEveryPlacement) {
  for_each_instruction_set(device(), [&] {
    for (const Extents& s : shapes) {
      for (const bool exact : {true, false}) {
        const auto x = exact ? integers(s.count(), 1) : uniform(s.count(), 1, -4, 4);
        const auto dy = exact ? integers(s.count(), 2) : uniform(s.count(), 2);
        size_t turn = 0;
        for (const ActivationKind kind : kinds) {
          for (const int64_t slope_count : slope_counts(kind, s.c)) {
            const Placement p = placements()[turn++ % placements().size()];
            const ActivationParams params{kind, 0.25f, slope_count};
            const auto slope = exact ? integers(slope_count, 3) : uniform(slope_count, 3);
            const auto before = integers(slope_count, 4);
            const Expected e = oracle(x, dy, slope, s.c, params, before);
            Activation<float> vx(device(), s.n, s.d, s.h, s.w, s.c, x, p),
                y(device(), s.n, s.d, s.h, s.w, s.c), g(device(), s.n, s.d, s.h, s.w, s.c, dy),
                dx(device(), s.n, s.d, s.h, s.w, s.c, p);
            const Buffer<float> a(device(), slope), da(device(), before);
            activation_forward(y, vx, a.data(), params, exec());
            activation_backward(dx, da.data(), g, vx, a.data(), params, exec());
            const bool integral = exact && kind != ActivationKind::sigmoid;
            SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << ", channels " << s.c
                                            << ", slopes " << slope_count);
            EXPECT_TRUE(all_close(y.get(), e.y, integral ? 0 : 5e-7));
            EXPECT_TRUE(all_close(dx.get(), e.dx, integral ? 0 : 1e-6));
            EXPECT_TRUE(all_close(da.get(), e.dslope, integral ? 0 : float_tolerance(s.count(), 4)));
          }
        }
      }
    }
  });
}

TEST_P(ActivationTest, WorksInPlace) {
  const auto x = integers(60, 1), dy = integers(60, 2);
  for (const ActivationKind kind : kinds) {
    const ActivationParams params{kind, 0.5f, 1};
    const Buffer<float> slope(device(), std::vector<float>{2.0f}), dslope(device(), std::vector<float>{0.0f}),
        again(device(), std::vector<float>{0.0f});
    Activation<float> vx(device(), 1, 1, 3, 4, 5, x), y(device(), 1, 1, 3, 4, 5),
        g(device(), 1, 1, 3, 4, 5, dy), dx(device(), 1, 1, 3, 4, 5);
    activation_forward(y, vx, slope.data(), params, exec());
    activation_backward(dx, dslope.data(), g, vx, slope.data(), params, exec());
    activation_backward(g, again.data(), g, vx, slope.data(), params, exec());
    activation_forward(vx, vx, slope.data(), params, exec());
    EXPECT_EQ(vx.get(), y.get());
    EXPECT_EQ(g.get(), dx.get());
    EXPECT_EQ(again.get(), dslope.get());
  }
}

TEST_P(ActivationTest, SpecialValues) {
  // A full vector of the widest instruction set, and a rest.
  std::vector<float> x(19, 1.0f);
  x[2] = x[17] = NAN;
  x[3] = x[18] = 0;
  x[4] = -INFINITY;
  x[5] = INFINITY;
  x[6] = -200;
  x[7] = 200;
  for_each_instruction_set(device(), [&] {
    for (const ActivationKind kind : kinds) {
      Activation<float> vx(device(), 1, 1, 1, 19, 1, x), y(device(), 1, 1, 1, 19, 1),
          g(device(), 1, 1, 1, 19, 1, std::vector<float>(19, 8.0f)), dx(device(), 1, 1, 1, 19, 1);
      const Buffer<float> slope(device(), std::vector<float>{0.25f}),
          dslope(device(), std::vector<float>{0.0f});
      const ActivationParams params{kind, 0.25f, 1};
      activation_forward(y, vx, slope.data(), params, exec());
      activation_backward(dx, dslope.data(), g, vx, slope.data(), params, exec());
      const auto values = y.get(), gradients = dx.get();
      EXPECT_TRUE(std::isnan(values[2]) && std::isnan(values[17])) << static_cast<int>(kind);
      if (kind == ActivationKind::sigmoid) {
        EXPECT_EQ(values[4], 0);
        EXPECT_EQ(values[5], 1);
        EXPECT_NEAR(values[6], 0, 1e-30);
        EXPECT_EQ(values[7], 1);
        EXPECT_EQ(gradients[7], 0);
      } else {
        // At zero the derivative is that of the negative side.
        const float at_zero = kind == ActivationKind::identity ? 8 : kind == ActivationKind::relu ? 0 : 2;
        EXPECT_EQ(gradients[3], at_zero);
        EXPECT_EQ(gradients[18], at_zero);
        EXPECT_EQ(values[4], kind == ActivationKind::relu ? 0 : -INFINITY);
      }
    }
  });
}

// The formulas of the oracle are checked against central differences in double.
TEST(ActivationOracle, AgreesWithFiniteDifferences) {
  for (const ActivationKind kind : kinds) {
    const ActivationParams p{kind, 0.25f, 1};
    for (const double v : {-2.5, -0.3, 0.2, 1.7}) {
      const double s = slope_at(p, {0.3f}, 0), h = 1e-6;
      EXPECT_NEAR((value(p, v + h, s) - value(p, v - h, s)) / (2 * h), derivative(p, v, s), 1e-8);
    }
  }
}

TEST(ActivationThreads, SameBitsForAnyNumberOfThreads) {
  const auto x = uniform(8000, 1), dy = uniform(8000, 2);
  constexpr DeviceKind cpu = DeviceKind::cpu;
  expect_thread_independent([&] {
    Workspace workspace(cpu);
    Activation<float> vx(cpu, 2, 5, 10, 4, 20, x), g(cpu, 2, 5, 10, 4, 20, dy), dx(cpu, 2, 5, 10, 4, 20);
    const Buffer<float> slope(cpu, std::vector<float>{0.25f}), dslope(cpu, std::vector<float>{0.0f});
    activation_backward(dx, dslope.data(), g, vx, slope.data(), {ActivationKind::prelu, 0, 1},
                        {cpu, nullptr, &workspace});
    auto result = dx.get();
    result.push_back(dslope.get()[0]);
    return result;
  });
}

TEST_P(ActivationTest, WrongArgumentsAreErrors) {
  Activation<float> a(device(), 1, 1, 1, 4, 3), b(device(), 1, 1, 1, 4, 2);
  const Buffer<float> slope(device(), 2);
  EXPECT_THROW(activation_forward(a, b, nullptr, {}, exec()), std::invalid_argument);
  const ActivationParams prelu{ActivationKind::prelu, 0, 2};
  EXPECT_THROW(activation_forward(a, a, slope.data(), prelu, exec()), std::invalid_argument);
  EXPECT_THROW(activation_forward(b, b, nullptr, prelu, exec()), std::invalid_argument);
  EXPECT_THROW(activation_backward(b, nullptr, b, b, slope.data(), prelu, exec()), std::invalid_argument);
}

// --- bfloat16 ----------------------------------------------------------------------------------------------

TEST(ActivationBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Exec cpu{DeviceKind::cpu, nullptr, &workspace};
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 1, 1, 2, 8);
  EXPECT_THROW(activation_forward(x, x, nullptr, {}, cpu), std::invalid_argument);
  EXPECT_THROW(activation_backward(x, nullptr, x, x, nullptr, {}, cpu), std::invalid_argument);
}

using ActivationBfloat16Test = DeviceTest;
VG_ON_CUDA(ActivationBfloat16Test);

TEST_P(ActivationBfloat16Test, ForwardAndBackwardOnEveryPlacement) {
  size_t turn = 0;
  for (const int64_t c : bfloat16_channels) {
    const Extents s{2, 1, 3, 5, c};
    for (const Placement& p : bfloat16_placements(c)) {
      const ActivationKind kind = kinds[turn % 5];
      const auto counts = slope_counts(kind, c);
      const int64_t slope_count = counts[turn++ % counts.size()];
      SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << ", channels " << c
                                      << ", slopes " << slope_count << ", halo " << p.halo);
      const auto x = rounded<bfloat16>(uniform(s.count(), 1, -4, 4)),
                 dy = rounded<bfloat16>(uniform(s.count(), 2)), slope = uniform(slope_count, 3),
                 before = uniform(slope_count, 4);
      const ActivationParams params{kind, 0.25f, slope_count};
      const Expected e = oracle(x, dy, slope, c, params, before);
      Activation<bfloat16> vx(device(), s.n, s.d, s.h, s.w, c, stored<bfloat16>(x), p),
          y(device(), s.n, s.d, s.h, s.w, c), g(device(), s.n, s.d, s.h, s.w, c, stored<bfloat16>(dy)),
          dx(device(), s.n, s.d, s.h, s.w, c, p);
      const Buffer<float> a(device(), slope), da(device(), before), again(device(), before);
      activation_forward(y, vx, a.data(), params, exec());
      activation_backward(dx, da.data(), g, vx, a.data(), params, exec());
      EXPECT_TRUE(all_close(to_floats(y.get()), e.y, 5e-7, storage_error<bfloat16>));
      EXPECT_TRUE(all_close(to_floats(dx.get()), e.dx, 1e-6, storage_error<bfloat16>));
      EXPECT_TRUE(all_close(da.get(), e.dslope, float_tolerance(s.count(), 4)));
      // In place, through other accesses if the placement is odd.
      activation_backward(g, again.data(), g, vx, a.data(), params, exec());
      EXPECT_EQ(to_floats(g.get()), to_floats(dx.get()));
      activation_forward(vx, vx, a.data(), params, exec());
      EXPECT_EQ(to_floats(vx.get()), to_floats(y.get()));
    }
  }
}

// Several blocks, and several voxels a thread.
TEST_P(ActivationBfloat16Test, SlopesOfLargeViews) {
  const int64_t c = 24, voxels = 9000;
  const auto x = integers(voxels * c, 1), dy = integers(voxels * c, 2);
  for (const int64_t slope_count : {int64_t{1}, c}) {
    const ActivationParams params{ActivationKind::prelu, 0, slope_count};
    const std::vector<float> slope(static_cast<size_t>(slope_count), 0.5f);
    const Expected e = oracle(x, dy, slope, c, params, slope);
    const Activation<bfloat16> vx(device(), 1, 1, 1, voxels, c, stored<bfloat16>(x)),
        g(device(), 1, 1, 1, voxels, c, stored<bfloat16>(dy)), dx(device(), 1, 1, 1, voxels, c);
    const Buffer<float> a(device(), slope), da(device(), slope);
    activation_backward(dx, da.data(), g, vx, a.data(), params, exec());
    EXPECT_TRUE(all_close(to_floats(dx.get()), e.dx, 0));
    EXPECT_TRUE(all_close(da.get(), e.dslope, 0));
  }
}

}  // namespace
}  // namespace vg::test
