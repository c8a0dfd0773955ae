#include "kernels/softmax/softmax.h"

#include <cmath>
#include <limits>

#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"
#include "support/stored.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using SoftmaxTest = DeviceTest;
VG_ON_EVERY_DEVICE(SoftmaxTest);

struct Extents {
  int64_t n, d, h, w, c;
  int64_t count() const { return n * d * h * w * c; }
};
const Extents shapes[] = {{1, 1, 1, 1, 1},  {2, 3, 2, 5, 4},  {1, 2, 3, 17, 4}, {2, 1, 3, 17, 3},
                          {1, 1, 2, 35, 2}, {1, 3, 1, 7, 33}, {1, 1, 1, 5, 8},  {1, 1, 1, 33, 1}};

std::vector<double> softmax_oracle(const std::vector<float>& x, int64_t channels) {
  std::vector<double> y(x.begin(), x.end());
  const auto c = static_cast<size_t>(channels);
  for (size_t v = 0; v < x.size(); v += c) {
    double largest = y[v], sum = 0;
    for (size_t i = 0; i < c; ++i) largest = std::max(largest, y[v + i]);
    for (size_t i = 0; i < c; ++i) sum += std::exp(y[v + i] - largest);
    for (size_t i = 0; i < c; ++i) y[v + i] = std::exp(y[v + i] - largest) / sum;
  }
  return y;
}

/// From the derivative of each output, dy_i/dx_j = y_i (delta_ij - y_j).
std::vector<double> gradient_oracle(const std::vector<float>& dy, const std::vector<float>& y,
                                    int64_t channels) {
  std::vector<double> dx(y.size(), 0);
  const auto c = static_cast<size_t>(channels);
  for (size_t v = 0; v < y.size(); v += c) {
    for (size_t i = 0; i < c; ++i) {
      for (size_t j = 0; j < c; ++j)
        dx[v + j] += double{dy[v + i]} * y[v + i] * ((i == j ? 1.0 : 0.0) - y[v + j]);
    }
  }
  return dx;
}

TEST_P(SoftmaxTest, ForwardMatchesTheOracleOnEveryPlacement) {
  for_each_instruction_set(device(), [&] {
    for (const Extents& s : shapes) {
      for (const Placement& p : placements()) {
        const auto values = uniform(s.count(), 1, -10, 10);
        Activation<float> x(device(), s.n, s.d, s.h, s.w, s.c, values, p),
            y(device(), s.n, s.d, s.h, s.w, s.c, p);
        softmax_forward(y, x, exec());
        // exp has 2 ulp, its argument half an ulp of 20.
        EXPECT_TRUE(all_close(y.get(), softmax_oracle(values, s.c), 0, 20 * 0x1p-24 + float_tolerance(s.c)));
      }
    }
  });
}

TEST_P(SoftmaxTest, MixedPlacementsAndInPlace) {
  for_each_instruction_set(device(), [&] {
    for (const Extents& s : shapes) {
      const auto values = uniform(s.count(), 2);
      const auto expected = softmax_oracle(values, s.c);
      Activation<float> x(device(), s.n, s.d, s.h, s.w, s.c, values, {1, 2, 1}),
          y(device(), s.n, s.d, s.h, s.w, s.c);
      softmax_forward(y, x, exec());
      EXPECT_TRUE(all_close(y.get(), expected, 0, float_tolerance(s.c)));
      softmax_forward(x, x, exec());
      EXPECT_TRUE(all_close(x.get(), expected, 0, float_tolerance(s.c)));
    }
  });
}

TEST_P(SoftmaxTest, BackwardMatchesTheOracle) {
  for_each_instruction_set(device(), [&] {
    for (const Extents& s : shapes) {
      for (const Placement& p : placements()) {
        const auto logits = uniform(s.count(), 3), gradients = uniform(s.count(), 4);
        const auto exact = softmax_oracle(logits, s.c);
        const std::vector<float> probabilities(exact.begin(), exact.end());
        Activation<float> y(device(), s.n, s.d, s.h, s.w, s.c, probabilities, p);
        Activation<float> dy(device(), s.n, s.d, s.h, s.w, s.c, gradients),
            dx(device(), s.n, s.d, s.h, s.w, s.c, p);
        softmax_backward(dx, dy, y, exec());
        const auto expected = gradient_oracle(gradients, probabilities, s.c);
        EXPECT_TRUE(all_close(dx.get(), expected, float_tolerance(s.c), 0));
        softmax_backward(dy, dy, y, exec());
        EXPECT_EQ(dy.get(), dx.get());
      }
    }
  });
}

#ifdef VOXGRAD_WITH_CUDA
using SoftmaxBfloat16Test = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, SoftmaxBfloat16Test, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

TEST_P(SoftmaxBfloat16Test, ForwardAndBackwardMatchTheOracle) {
  for (const Extents& s : shapes) {
    for (const Placement& p : placements()) {
      const auto values = rounded<bfloat16>(uniform(s.count(), 1, -10, 10));
      const auto probabilities = softmax_oracle(values, s.c);
      const auto y_values = rounded<bfloat16>({probabilities.begin(), probabilities.end()});
      const auto gradients = rounded<bfloat16>(uniform(s.count(), 4));
      Activation<bfloat16> x(device(), s.n, s.d, s.h, s.w, s.c, stored<bfloat16>(values), p),
          y(device(), s.n, s.d, s.h, s.w, s.c, p);
      softmax_forward(y, x, exec());
      EXPECT_TRUE(all_close(to_floats(y.get()), probabilities, 0, 0x1p-8 + 0x1p-18));
      softmax_forward(x, x, exec());
      EXPECT_EQ(to_floats(x.get()), to_floats(y.get()));

      y.set(stored<bfloat16>(y_values));
      Activation<bfloat16> dy(device(), s.n, s.d, s.h, s.w, s.c, stored<bfloat16>(gradients)),
          dx(device(), s.n, s.d, s.h, s.w, s.c, p);
      softmax_backward(dx, dy, y.view(), exec());
      EXPECT_TRUE(all_close(to_floats(dx.get()), gradient_oracle(gradients, y_values, s.c),
                            2 * float_tolerance(s.c), 0x1p-8));
      softmax_backward(dy, dy, y.view(), exec());
      EXPECT_EQ(to_floats(dy.get()), to_floats(dx.get()));
    }
  }
}

TEST_P(SoftmaxBfloat16Test, ArgmaxTakesTheFirstOfEqualsAndNan) {
  const std::vector<float> values = {1, 3, 3, 2, NAN, 5, 0, 0, -1, -1, -2, -1};
  for (const Placement& p : placements()) {
    Activation<bfloat16> x(device(), 1, 1, 1, 3, 4, stored<bfloat16>(values), p);
    Activation<uint8_t> labels(device(), 1, 1, 1, 3, 1, p);
    argmax_channels(labels, x, exec());
    EXPECT_EQ(labels.get(), (std::vector<uint8_t>{1, 0, 0}));
  }
}
#endif

TEST(SoftmaxBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 1, 1, 4, 3);
  const Activation<uint8_t> labels(DeviceKind::cpu, 1, 1, 1, 4, 1);
  EXPECT_THROW(softmax_forward(x, x, exec), std::invalid_argument);
  EXPECT_THROW(softmax_backward(x, x, x, exec), std::invalid_argument);
  EXPECT_THROW(argmax_channels(labels, x, exec), std::invalid_argument);
}

TEST(SoftmaxOracle, GradientMatchesFiniteDifferences) {
  const int64_t channels = 5;
  auto x = uniform(3 * channels, 5);
  const auto g = uniform(3 * channels, 6);
  const auto y = softmax_oracle(x, channels);
  const auto dx = gradient_oracle(g, std::vector<float>(y.begin(), y.end()), channels);
  const auto objective = [&] {
    double sum = 0;
    const auto p = softmax_oracle(x, channels);
    for (size_t i = 0; i < p.size(); ++i) sum += p[i] * g[i];
    return sum;
  };
  for (size_t i = 0; i < x.size(); ++i) {
    const float before = x[i];
    x[i] = before + 0x1p-8f;
    const double right = objective();
    const double width = double{x[i]} - (before - 0x1p-8f);
    x[i] = before - 0x1p-8f;
    const double left = objective();
    x[i] = before;
    EXPECT_NEAR((right - left) / width, dx[i], 1e-5);
  }
}

TEST_P(SoftmaxTest, ExtremeLogits) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> logits = {1e30f, -1e30f, 0, 3e38f, -3e38f, 0, -inf, 1, 1,   0,   -80, -100,
                                     nan,   0,      0, 0,     nan,    1, 0,    1, nan, inf, 0,   0};
  const auto voxels = static_cast<int64_t>(logits.size()) / 3;
  for_each_instruction_set(device(), [&] {
    Activation<float> x(device(), 1, 1, 1, voxels, 3, logits), y(device(), 1, 1, 1, voxels, 3);
    softmax_forward(y, x, exec());
    const auto p = y.get();
    EXPECT_EQ(std::vector<float>(p.begin(), p.begin() + 9),
              (std::vector<float>{1, 0, 0, 1, 0, 0, 0, 0.5f, 0.5f}));
    EXPECT_NEAR(p[10] / std::exp(-80.0), 1, 4 * 0x1p-23);
    EXPECT_NEAR(p[11], std::exp(-100.0), 0x1p-149);  // a denormal
    for (size_t i = 12; i < p.size(); ++i) EXPECT_TRUE(std::isnan(p[i])) << i;
  });
}

TEST_P(SoftmaxTest, ExponentialIsAccurateOverItsRange) {
  // softmax of (0, x) is e^x to within rounding for very negative x: tests the exponential of every
  // instruction set.
  const int64_t voxels = device() == DeviceKind::cpu ? 20000 : 500;
  std::vector<float> logits;
  for (const float x : uniform(voxels, 7, -87, -18)) logits.insert(logits.end(), {0, x});
  for_each_instruction_set(device(), [&] {
    Activation<float> x(device(), 1, 1, 1, voxels, 2, logits), y(device(), 1, 1, 1, voxels, 2);
    softmax_forward(y, x, exec());
    const auto p = y.get();
    for (size_t i = 1; i < p.size(); i += 2)
      ASSERT_NEAR(p[i] / std::exp(double{logits[i]}), 1, 3 * 0x1p-23) << logits[i];
  });
}

TEST_P(SoftmaxTest, ArgmaxTakesTheFirstOfEqualsAndNan) {
  for_each_instruction_set(device(), [&] {
    for (const Extents& s : shapes) {
      for (const Placement& p : placements()) {
        auto values = integers(s.count(), 8, 2);
        if (s.count() > 60) values[13] = values[14] = values[50] = NAN;
        std::vector<uint8_t> expected;
        for (size_t v = 0; v < values.size(); v += static_cast<size_t>(s.c)) {
          size_t best = 0;
          for (size_t c = 1; c < static_cast<size_t>(s.c); ++c) {
            if (!std::isnan(values[v + best]) && !(values[v + c] <= values[v + best])) best = c;
          }
          expected.push_back(static_cast<uint8_t>(best));
        }
        Activation<float> x(device(), s.n, s.d, s.h, s.w, s.c, values, p);
        Activation<uint8_t> labels(device(), s.n, s.d, s.h, s.w, 1, p),
            dense(device(), s.n, s.d, s.h, s.w, 1);
        argmax_channels(labels, x, exec());
        EXPECT_EQ(labels.get(), expected);
        argmax_channels(dense, x, exec());
        EXPECT_EQ(dense.get(), expected);
      }
    }
  });
}

TEST_P(SoftmaxTest, WrongShapesAreErrors) {
  Activation<float> a(device(), 1, 1, 1, 4, 2), b(device(), 1, 1, 1, 4, 3), many(device(), 1, 1, 1, 1, 257);
  Activation<uint8_t> labels(device(), 1, 1, 1, 4, 1), short_labels(device(), 1, 1, 1, 3, 1),
      one(device(), 1, 1, 1, 1, 1);
  EXPECT_THROW(softmax_forward(a, b, exec()), std::invalid_argument);
  EXPECT_THROW(softmax_backward(a, b, a, exec()), std::invalid_argument);
  EXPECT_THROW(argmax_channels(short_labels, a, exec()), std::invalid_argument);
  EXPECT_THROW(argmax_channels(one, many, exec()), std::invalid_argument);
}

TEST(SoftmaxThreads, SameBitsForAnyThreadCount) {
  const int64_t voxels = 20001;
  const auto values = uniform(voxels * 4, 9);
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  Activation<float> x(DeviceKind::cpu, 1, 1, 1, voxels, 4, values), y(DeviceKind::cpu, 1, 1, 1, voxels, 4);
  expect_thread_independent([&] {
    softmax_forward(y, x, exec);
    return y.get();
  });
}

}  // namespace
}  // namespace vg::test
