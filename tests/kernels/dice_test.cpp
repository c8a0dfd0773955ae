#include "kernels/dice/dice.h"

#include <cmath>

#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/odd_extents.h"
#include "support/random_data.h"
#include "support/stored.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using DiceTest = DeviceTest;
VG_ON_EVERY_DEVICE(DiceTest);

struct Problem {
  int64_t n, d, h, w, c;
  bool class_indices = true;
  bool weighted = false;
  DiceParams params = {};

  int64_t voxels() const { return d * h * w; }
  int64_t count() const { return n * voxels() * c; }
  int64_t label_channels() const { return class_indices ? 1 : c; }
  std::vector<float> logits() const {
    // Without activation the logits are the probabilities.
    return params.activation == DiceActivation::none ? uniform(count(), 1, 0, 1) : uniform(count(), 1, -3, 3);
  }
  std::vector<uint8_t> labels() const {
    return vg::test::labels(n * voxels() * label_channels(), 2,
                            class_indices && c > 1 ? static_cast<int>(c) : 2);
  }
  std::vector<float> weights() const {
    return weighted ? uniform(dice_channels(c, params), 3, 0.25f, 2) : std::vector<float>();
  }
  std::vector<float> loss_gradient() const { return uniform(dice_loss_count(n, c, params), 4, 0.5f, 1.5f); }
};

/// MONAI's DiceLoss, line by line, in double.
struct Oracle {
  const Problem& problem;
  std::vector<uint8_t> labels = problem.labels();
  std::vector<float> weights = problem.weights();

  size_t index(int64_t n, int64_t v, int64_t c) const {
    return static_cast<size_t>((n * problem.voxels() + v) * problem.c + c);
  }
  double target(int64_t n, int64_t v, int64_t c) const {
    if (problem.class_indices && problem.c > 1)
      return labels[static_cast<size_t>(n * problem.voxels() + v)] == c ? 1 : 0;
    return labels[index(n, v, c)] != 0 ? 1 : 0;
  }
  std::vector<double> predictions(const std::vector<double>& x) const {
    std::vector<double> p = x;
    for (int64_t n = 0; n < problem.n; ++n) {
      for (int64_t v = 0; v < problem.voxels(); ++v) {
        double sum = 0;
        for (int64_t c = 0; c < problem.c; ++c) sum += std::exp(x[index(n, v, c)]);
        for (int64_t c = 0; c < problem.c; ++c) {
          const double value = x[index(n, v, c)];
          if (problem.params.activation == DiceActivation::sigmoid)
            p[index(n, v, c)] = 1 / (1 + std::exp(-value));
          if (problem.params.activation == DiceActivation::softmax && problem.c > 1)
            p[index(n, v, c)] = std::exp(value) / sum;
        }
      }
    }
    return p;
  }
  int64_t first_channel() const { return problem.params.include_background || problem.c == 1 ? 0 : 1; }
  struct Sums {
    double intersection = 0, prediction = 0, target = 0;
  };
  Sums sums(const std::vector<double>& p, int64_t n, int64_t c) const {
    Sums s;
    for (int64_t v = 0; v < problem.voxels(); ++v) {
      const double value = p[index(n, v, c)], t = target(n, v, c);
      s.intersection += value * t;
      s.prediction += problem.params.squared_prediction ? value * value : value;
      s.target += t;
    }
    return s;
  }
  /// Numerator and denominator for the group that sample n belongs to.
  std::pair<double, double> ratio(const std::vector<double>& p, int64_t n, int64_t c) const {
    Sums s;
    for (int64_t i = 0; i < problem.n; ++i) {
      if (!problem.params.batch && i != n) continue;
      const Sums own = sums(p, i, c);
      s.intersection += own.intersection, s.prediction += own.prediction, s.target += own.target;
    }
    double denominator = s.target + s.prediction;
    if (problem.params.jaccard) denominator = 2 * (denominator - s.intersection);
    return {2 * s.intersection + problem.params.smooth_numerator,
            denominator + problem.params.smooth_denominator};
  }
  double weight(int64_t c) const {
    const bool one = problem.c - first_channel() == 1;
    return weights.empty() || one ? 1.0 : weights[static_cast<size_t>(c - first_channel())];
  }
  std::vector<double> loss(const std::vector<double>& x) const {
    const auto p = predictions(x);
    std::vector<double> f;
    for (int64_t n = 0; n < (problem.params.batch ? 1 : problem.n); ++n) {
      for (int64_t c = first_channel(); c < problem.c; ++c) {
        const auto [numerator, denominator] = ratio(p, n, c);
        f.push_back((1 - numerator / denominator) * weight(c));
      }
    }
    if (problem.params.reduction == LossReduction::none) return f;
    double sum = 0;
    for (const double value : f) sum += value;
    if (problem.params.reduction == LossReduction::mean) sum /= static_cast<double>(f.size());
    return {sum};
  }
  std::vector<double> gradient(const std::vector<double>& x, const std::vector<float>& dloss) const {
    const auto p = predictions(x);
    const int64_t counted = problem.c - first_channel();
    const double values = static_cast<double>((problem.params.batch ? 1 : problem.n) * counted);
    std::vector<double> dp(x.size(), 0), dx(x.size(), 0);
    for (int64_t n = 0; n < problem.n; ++n) {
      for (int64_t c = first_channel(); c < problem.c; ++c) {
        const auto [numerator, denominator] = ratio(p, n, c);
        double g = weight(c);
        if (problem.params.reduction == LossReduction::none)
          g *= dloss[static_cast<size_t>((problem.params.batch ? 0 : n) * counted + c - first_channel())];
        else
          g *= dloss[0] / (problem.params.reduction == LossReduction::mean ? values : 1);
        for (int64_t v = 0; v < problem.voxels(); ++v) {
          const double t = target(n, v, c);
          double slope = problem.params.squared_prediction ? 2 * p[index(n, v, c)] : 1;
          if (problem.params.jaccard) slope = 2 * (slope - t);
          dp[index(n, v, c)] = -g * (2 * t * denominator - numerator * slope) / (denominator * denominator);
        }
      }
      for (int64_t v = 0; v < problem.voxels(); ++v) {
        for (int64_t i = 0; i < problem.c; ++i) {
          const double own = p[index(n, v, i)];
          double& out = dx[index(n, v, i)];
          if (problem.params.activation == DiceActivation::sigmoid) {
            out = dp[index(n, v, i)] * own * (1 - own);
          } else if (problem.params.activation == DiceActivation::softmax && problem.c > 1) {
            for (int64_t j = 0; j < problem.c; ++j)
              out += dp[index(n, v, j)] * p[index(n, v, j)] * ((i == j ? 1 : 0) - own);
          } else {
            out = dp[index(n, v, i)];
          }
        }
      }
    }
    return dx;
  }
};

double largest(const std::vector<double>& values) {
  double result = 0;
  for (const double v : values) result = std::max(result, std::abs(v));
  return result;
}

/// Runs forward and backward and compares loss, sums and gradient with the oracle.
/// T: type of the logits and their gradient.
template <class T = float>
void check(const Problem& s, const Exec& exec, Placement logits_placement = {},
           Placement label_placement = {}) {
  const DeviceKind device = exec.device;
  const Oracle oracle{s};
  const auto logits = rounded<T>(s.logits());
  const std::vector<double> x(logits.begin(), logits.end());
  Activation<T> view(device, s.n, s.d, s.h, s.w, s.c, stored<T>(logits), logits_placement),
      dlogits(device, s.n, s.d, s.h, s.w, s.c, logits_placement);
  Activation<uint8_t> labels(device, s.n, s.d, s.h, s.w, s.label_channels(), oracle.labels, label_placement);
  Buffer<float> loss(device, dice_loss_count(s.n, s.c, s.params)), sums(device, dice_sums_count(s.n, s.c));
  Buffer<float> weights(device, oracle.weights), dloss(device, s.loss_gradient());
  const float* const class_weights = s.weighted ? weights.data() : nullptr;

  dice_forward(loss.data(), sums.data(), view, labels, class_weights, s.params, exec);
  const double tolerance = float_tolerance(s.voxels() + 8);
  const auto p = oracle.predictions(x);
  std::vector<double> expected_sums;
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t c = 0; c < s.c; ++c) {
      const auto sum = oracle.sums(p, n, c);
      expected_sums.insert(expected_sums.end(), {sum.intersection, sum.prediction, sum.target});
    }
  }
  ASSERT_TRUE(all_close(sums.get(), expected_sums, 0, tolerance));
  const auto expected_loss = oracle.loss(x);
  // Each of the ratios is at most about 1, its weight at most 2.
  const double terms = s.params.reduction == LossReduction::sum ? static_cast<double>(s.n * s.c) : 1.0;
  ASSERT_TRUE(all_close(loss.get(), expected_loss, 2 * terms * tolerance));

  dice_backward(dlogits, dloss.data(), sums.data(), view, labels, class_weights, s.params, exec);
  const auto expected = oracle.gradient(x, s.loss_gradient());
  ASSERT_TRUE(
      all_close(to_floats(dlogits.get()), expected, 2 * tolerance * largest(expected), storage_error<T>));
}

template <class Body>
void for_each_option(const Body& body) {
  for (const auto activation : {DiceActivation::none, DiceActivation::sigmoid, DiceActivation::softmax}) {
    for (const auto reduction : {LossReduction::mean, LossReduction::sum, LossReduction::none}) {
      for (int bits = 0; bits < 16; ++bits) {
        DiceParams params;
        params.activation = activation;
        params.reduction = reduction;
        params.include_background = (bits & 1) != 0;
        params.squared_prediction = (bits & 2) != 0;
        params.jaccard = (bits & 4) != 0;
        params.batch = (bits & 8) != 0;
        if (bits % 3 == 0) params.smooth_numerator = 1, params.smooth_denominator = 0.5f;
        SCOPED_TRACE(::testing::Message() << "activation " << static_cast<int>(activation) << " reduction "
                                          << static_cast<int>(reduction) << " options " << bits);
        body(params);
      }
    }
  }
}

TEST_P(DiceTest, EveryOptionMatchesTheOracle) {
  for_each_instruction_set(device(), [&] {
    for_each_option([&](const DiceParams& params) {
      for (const bool class_indices : {true, false}) {
        for (const bool weighted : {true, false})
          check({2, 1, 3, 7, 4, class_indices, weighted, params}, exec());
      }
    });
  });
}

TEST_P(DiceTest, ShapesAndPlacements) {
  const Problem problems[] = {{1, 1, 1, 1, 1}, {3, 2, 1, 5, 2}, {2, 3, 2, 17, 3}, {2, 1, 2, 33, 4},
                              {1, 2, 3, 7, 5}, {2, 1, 3, 5, 9}, {1, 1, 1, 17, 33}};
  for_each_instruction_set(device(), [&] {
    for (Problem s : problems) {
      for (const Placement& p : placements()) {
        for (const bool class_indices : {true, false}) {
          for (const auto activation : {DiceActivation::sigmoid, DiceActivation::softmax}) {
            SCOPED_TRACE(::testing::Message() << "channels " << s.c << " halo " << p.halo);
            s.class_indices = class_indices;
            s.params.activation = activation;
            s.params.include_background = class_indices;
            s.weighted = true;
            check(s, exec(), p, p);
            check(s, exec(), p, {});
          }
        }
      }
    }
  });
}

// Sums of several blocks and pieces, and of more tiles than are summed in float.
TEST_P(DiceTest, LargeVolumes) {
  Problem s{2, 1, 1, 37000, 4};
  check(s, exec());
  s = {1, 2, 130, 80, 3, false};
  check(s, exec(), {1, 0, 0});
}

TEST(DiceOracle, GradientMatchesFiniteDifferences) {
  for_each_option([](const DiceParams& params) {
    const Problem s{2, 1, 1, 3, 3, true, true, params};
    const Oracle oracle{s};
    const auto logits = s.logits(), dloss = s.loss_gradient();
    std::vector<double> x(logits.begin(), logits.end());
    const auto gradient = oracle.gradient(x, dloss);
    const auto objective = [&] {
      const auto loss = oracle.loss(x);
      double sum = 0;
      for (size_t i = 0; i < loss.size(); ++i) sum += loss[i] * dloss[i];
      return sum;
    };
    for (size_t i = 0; i < x.size(); ++i) {
      const double before = x[i], step = 1e-5;
      x[i] = before + step;
      const double right = objective();
      x[i] = before - step;
      const double left = objective();
      x[i] = before;
      ASSERT_NEAR((right - left) / (2 * step), gradient[i], 1e-8);
    }
  });
}

// Two classes, predictions 0 and 1: integer sums and a loss that can be worked out by hand.
TEST_P(DiceTest, HandComputedExample) {
  DiceParams params;
  params.activation = DiceActivation::none;
  params.smooth_numerator = params.smooth_denominator = 0;
  params.reduction = LossReduction::none;
  Activation<float> p(device(), 1, 1, 1, 4, 2, {1, 0, 1, 0, 0, 1, 0, 1}), dp(device(), 1, 1, 1, 4, 2);
  Activation<uint8_t> labels(device(), 1, 1, 1, 4, 1, {0, 1, 1, 1});
  Buffer<float> loss(device(), 2), sums(device(), 6), dloss(device(), std::vector<float>{1, 1});
  dice_forward(loss.data(), sums.data(), p, labels, nullptr, params, exec());
  EXPECT_EQ(sums.get(), (std::vector<float>{1, 2, 1, 2, 2, 3}));
  EXPECT_EQ(loss.get(),
            (std::vector<float>{static_cast<float>(1 - 2.0 / 3), static_cast<float>(1 - 4.0 / 5)}));
  dice_backward(dp, dloss.data(), sums.data(), p, labels, nullptr, params, exec());
  // -2 t / D + 2 I / D^2.
  const auto expected = [](double t, double i, double d) { return -2 * t / d + 2 * i / (d * d); };
  std::vector<double> gradient;
  for (const int label : {0, 1, 1, 1})
    gradient.insert(gradient.end(), {expected(label == 0, 1, 3), expected(label == 1, 2, 5)});
  EXPECT_TRUE(all_close(dp.get(), gradient, 0x1p-24));
}

TEST_P(DiceTest, LabelsBeyondTheClassesBelongToNone) {
  Problem s{1, 1, 1, 9, 3};
  const std::vector<uint8_t> labels = {0, 1, 2, 3, 4, 255, 2, 1, 200};
  const auto logits = s.logits();
  for_each_instruction_set(device(), [&] {
    std::vector<uint8_t> masks;
    for (const uint8_t label : labels) {
      for (int c = 0; c < 3; ++c) masks.push_back(label == c ? 255 : 0);
    }
    Activation<float> x(device(), 1, 1, 1, 9, 3, logits), a(device(), 1, 1, 1, 9, 3),
        b(device(), 1, 1, 1, 9, 3);
    Activation<uint8_t> indices(device(), 1, 1, 1, 9, 1, labels), mask(device(), 1, 1, 1, 9, 3, masks);
    Buffer<float> loss(device(), 1), sums(device(), 9), other_loss(device(), 1), other_sums(device(), 9),
        one(device(), std::vector<float>{1});
    dice_forward(loss.data(), sums.data(), x, indices, nullptr, s.params, exec());
    dice_forward(other_loss.data(), other_sums.data(), x, mask, nullptr, s.params, exec());
    EXPECT_EQ(loss.get(), other_loss.get());
    EXPECT_EQ(sums.get(), other_sums.get());
    EXPECT_EQ(sums.get()[2] + sums.get()[5] + sums.get()[8], 5);
    dice_backward(a, one.data(), sums.data(), x, indices, nullptr, s.params, exec());
    dice_backward(b, one.data(), sums.data(), x, mask, nullptr, s.params, exec());
    EXPECT_EQ(a.get(), b.get());
  });
}

TEST_P(DiceTest, NanShowsInTheLoss) {
  Problem s{1, 1, 1, 9, 3};
  auto logits = s.logits();
  logits[7] = NAN;
  Activation<float> x(device(), 1, 1, 1, 9, 3, logits);
  Activation<uint8_t> labels(device(), 1, 1, 1, 9, 1, s.labels());
  Buffer<float> loss(device(), 1), sums(device(), 9);
  dice_forward(loss.data(), sums.data(), x, labels, nullptr, s.params, exec());
  EXPECT_TRUE(std::isnan(loss.get()[0]));
}

#ifdef VOXGRAD_WITH_CUDA
using DiceBfloat16Test = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, DiceBfloat16Test, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

TEST_P(DiceBfloat16Test, EveryOptionMatchesTheOracle) {
  for_each_option([&](const DiceParams& params) {
    for (const bool class_indices : {true, false})
      check<bfloat16>({2, 1, 3, 7, 4, class_indices, class_indices, params}, exec());
  });
}

TEST_P(DiceBfloat16Test, ShapesAndPlacements) {
  for (Problem s : {Problem{1, 1, 1, 1, 1},
                    {3, 2, 1, 5, 2},
                    {2, 3, 2, 17, 3},
                    {2, 1, 2, 33, 4},
                    {1, 2, 3, 7, 5},
                    {1, 1, 3, 5, 8},
                    {1, 1, 1, 17, 33}}) {
    for (const Placement& p : placements()) {
      for (const bool class_indices : {true, false}) {
        SCOPED_TRACE(::testing::Message() << "channels " << s.c << " halo " << p.halo);
        s.class_indices = class_indices;
        s.params.include_background = class_indices;
        s.weighted = true;
        check<bfloat16>(s, exec(), p, p);
        check<bfloat16>(s, exec(), p, {});
      }
    }
  }
}

TEST_P(DiceBfloat16Test, OddExtentsAndChannels) {
  for (const OddExtents& e : odd_extents)
    check<bfloat16>({2, e.d, e.h, e.w, 4}, exec(), {1, 3, 2}, {1, 0, 0});
  for (const int64_t c : {16, 24, 64}) check<bfloat16>({1, 2, 3, 5, c}, exec());
}

TEST_P(DiceBfloat16Test, LargeVolumes) {
  check<bfloat16>({2, 1, 1, 37000, 4}, exec());
}
#endif

TEST(DiceBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 1, 1, 4, 3);
  const Activation<uint8_t> labels(DeviceKind::cpu, 1, 1, 1, 4, 1);
  EXPECT_THROW(dice_forward(nullptr, nullptr, x, labels, nullptr, {}, exec), std::invalid_argument);
  EXPECT_THROW(dice_backward(x, nullptr, nullptr, x, labels, nullptr, {}, exec), std::invalid_argument);
}

TEST_P(DiceTest, WrongShapesAreErrors) {
  Activation<float> x(device(), 1, 1, 1, 4, 3), narrow(device(), 1, 1, 1, 4, 2);
  Activation<uint8_t> two(device(), 1, 1, 1, 4, 2), shorter(device(), 1, 1, 1, 3, 1),
      labels(device(), 1, 1, 1, 4, 1);
  EXPECT_THROW(dice_forward(nullptr, nullptr, x, two, nullptr, {}, exec()), std::invalid_argument);
  EXPECT_THROW(dice_forward(nullptr, nullptr, x, shorter, nullptr, {}, exec()), std::invalid_argument);
  EXPECT_THROW(dice_backward(narrow, nullptr, nullptr, x, labels, nullptr, {}, exec()),
               std::invalid_argument);
}

TEST(DiceThreads, SameBitsForAnyThreadCount) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  for (const int64_t channels : {4, 5}) {
    const Problem s{2, 1, 1, 20001, channels};
    Activation<float> x(DeviceKind::cpu, s.n, s.d, s.h, s.w, s.c, s.logits()),
        dx(DeviceKind::cpu, s.n, s.d, s.h, s.w, s.c);
    Activation<uint8_t> labels(DeviceKind::cpu, s.n, s.d, s.h, s.w, 1, s.labels());
    Buffer<float> loss(DeviceKind::cpu, 1), sums(DeviceKind::cpu, dice_sums_count(s.n, s.c)),
        one(DeviceKind::cpu, std::vector<float>{1});
    expect_thread_independent([&] {
      dice_forward(loss.data(), sums.data(), x, labels, nullptr, s.params, exec);
      dice_backward(dx, one.data(), sums.data(), x, labels, nullptr, s.params, exec);
      auto all = dx.get();
      for (const float v : sums.get()) all.push_back(v);
      all.push_back(loss.get()[0]);
      return all;
    });
  }
}

}  // namespace
}  // namespace vg::test
