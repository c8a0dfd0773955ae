#include "kernels/cross_entropy/cross_entropy.h"

#include <cmath>

#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"
#include "support/stored.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using CrossEntropyTest = DeviceTest;
VG_ON_EVERY_DEVICE(CrossEntropyTest);

struct Extents {
  int64_t n, d, h, w, c;
  int64_t voxels() const { return n * d * h * w; }
  int64_t count() const { return voxels() * c; }
};
const Extents shapes[] = {{1, 1, 1, 1, 1},  {2, 3, 2, 5, 4},  {1, 2, 3, 17, 4}, {2, 1, 3, 17, 3},
                          {1, 1, 2, 35, 2}, {1, 3, 1, 7, 33}, {1, 1, 1, 5, 8}};

struct Oracle {
  int64_t classes;
  std::vector<uint8_t> labels;
  std::vector<float> weights;  // empty: 1
  bool mean;

  double weight(size_t label) const { return weights.empty() ? 1.0 : weights[label]; }
  /// {loss, sum of weights}
  std::pair<double, double> forward(const std::vector<double>& x) const {
    double loss = 0, weight_sum = 0;
    for (size_t v = 0; v < labels.size(); ++v) {
      if (labels[v] >= classes) continue;
      const double* const logits = x.data() + v * static_cast<size_t>(classes);
      double sum = 0;
      for (int64_t c = 0; c < classes; ++c) sum += std::exp(logits[c]);
      loss -= weight(labels[v]) * std::log(std::exp(logits[labels[v]]) / sum);
      weight_sum += weight(labels[v]);
    }
    return {mean ? loss / weight_sum : loss, weight_sum};
  }
  std::vector<double> gradient(const std::vector<double>& x, double dloss) const {
    std::vector<double> dx(x.size(), 0);
    const double scale = mean ? dloss / forward(x).second : dloss;
    for (size_t v = 0; v < labels.size(); ++v) {
      if (labels[v] >= classes) continue;
      const size_t first = v * static_cast<size_t>(classes);
      double sum = 0;
      for (int64_t c = 0; c < classes; ++c) sum += std::exp(x[first + static_cast<size_t>(c)]);
      for (int64_t c = 0; c < classes; ++c) {
        const size_t i = first + static_cast<size_t>(c);
        dx[i] = scale * weight(labels[v]) * (std::exp(x[i]) / sum - (c == labels[v] ? 1 : 0));
      }
    }
    return dx;
  }
};

// T: type of the logits and their gradient.
template <class T = float>
void check(const Extents& s, bool weighted, bool mean, const Exec& exec, Placement logits_placement = {},
           Placement label_placement = {}) {
  const DeviceKind device = exec.device;
  const auto logits = rounded<T>(uniform(s.count(), 1, -4, 4));
  const std::vector<double> x(logits.begin(), logits.end());
  const float dloss = 0.75f;
  const int label_values = static_cast<int>(s.c) + (s.voxels() > 1 ? 1 : 0);  // some belong to no class
  const Oracle oracle{s.c, labels(s.voxels(), 2, label_values),
                      weighted ? uniform(s.c, 3, 0.25f, 2) : std::vector<float>(), mean};
  Activation<T> view(device, s.n, s.d, s.h, s.w, s.c, stored<T>(logits), logits_placement),
      dlogits(device, s.n, s.d, s.h, s.w, s.c, logits_placement);
  Activation<uint8_t> label_view(device, s.n, s.d, s.h, s.w, 1, oracle.labels, label_placement);
  Buffer<float> loss(device, 1), weight_sum(device, 1), weights(device, oracle.weights),
      gradient(device, std::vector<float>{dloss});
  const float* const class_weights = weighted ? weights.data() : nullptr;

  cross_entropy_forward(loss.data(), weight_sum.data(), view, label_view, class_weights, {mean}, exec);
  const auto [expected_loss, expected_weight_sum] = oracle.forward(x);
  // A term is at most weight 2 times 8 + log C < 12.
  const double terms = mean ? 1.0 : static_cast<double>(s.voxels());
  ASSERT_TRUE(all_close(loss.get(), std::vector<double>{expected_loss}, float_tolerance(1, 24 * terms)));
  ASSERT_TRUE(all_close(weight_sum.get(), std::vector<double>{expected_weight_sum}, 0, float_tolerance(1)));

  cross_entropy_backward(dlogits, gradient.data(), weight_sum.data(), view, label_view, class_weights, {mean},
                         exec);
  const double scale = mean ? 2 / expected_weight_sum : 2;
  ASSERT_TRUE(all_close(to_floats(dlogits.get()), oracle.gradient(x, double{dloss}),
                        float_tolerance(s.c + 4, scale), storage_error<T>));
}

TEST_P(CrossEntropyTest, MatchesTheOracleOnEveryPlacement) {
  for_each_instruction_set(device(), [&] {
    for (const Extents& s : shapes) {
      for (const Placement& p : placements()) {
        for (const bool weighted : {false, true}) {
          for (const bool mean : {false, true}) {
            check(s, weighted, mean, exec(), p, p);
            check(s, weighted, mean, exec(), p);
          }
        }
      }
    }
  });
}

// Several blocks and pieces, and more tiles than are summed in float.
TEST_P(CrossEntropyTest, LargeVolumes) {
  check({2, 1, 1, 37000, 4}, true, true, exec());
  check({1, 2, 70, 80, 3}, false, true, exec(), {1, 0, 0});
}

#ifdef VOXGRAD_WITH_CUDA
using CrossEntropyBfloat16Test = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, CrossEntropyBfloat16Test, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

TEST_P(CrossEntropyBfloat16Test, MatchesTheOracleOnEveryPlacement) {
  for (const Extents& s : shapes) {
    for (const Placement& p : placements()) {
      for (const bool weighted : {false, true}) {
        check<bfloat16>(s, weighted, weighted, exec(), p, p);
        check<bfloat16>(s, weighted, !weighted, exec(), p);
      }
    }
  }
}

TEST_P(CrossEntropyBfloat16Test, LargeVolumes) {
  check<bfloat16>({2, 1, 1, 37000, 4}, true, true, exec());
}
#endif

TEST(CrossEntropyBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 1, 1, 4, 3);
  const Activation<uint8_t> one_label(DeviceKind::cpu, 1, 1, 1, 4, 1);
  EXPECT_THROW(cross_entropy_forward(nullptr, nullptr, x, one_label, nullptr, {}, exec),
               std::invalid_argument);
  EXPECT_THROW(cross_entropy_backward(x, nullptr, nullptr, x, one_label, nullptr, {}, exec),
               std::invalid_argument);
}

TEST(CrossEntropyOracle, GradientMatchesFiniteDifferences) {
  for (const bool mean : {false, true}) {
    const Oracle oracle{3, labels(5, 2, 4), uniform(3, 3, 0.25f, 2), mean};
    const auto logits = uniform(15, 1, -2, 2);
    std::vector<double> x(logits.begin(), logits.end());
    const auto gradient = oracle.gradient(x, 1);
    for (size_t i = 0; i < x.size(); ++i) {
      const double before = x[i], step = 1e-5;
      x[i] = before + step;
      const double right = oracle.forward(x).first;
      x[i] = before - step;
      const double left = oracle.forward(x).first;
      x[i] = before;
      EXPECT_NEAR((right - left) / (2 * step), gradient[i], 1e-8);
    }
  }
}

TEST_P(CrossEntropyTest, LabelsBeyondTheClassesAreIgnored) {
  for_each_instruction_set(device(), [&] {
    Activation<float> x(device(), 1, 1, 1, 3, 2, {1, 2, 3, 4, 5, 6}), dx(device(), 1, 1, 1, 3, 2);
    Activation<uint8_t> labels(device(), 1, 1, 1, 3, 1, std::vector<uint8_t>{2, 255, 100});
    Buffer<float> loss(device(), 1), weight_sum(device(), 1), one(device(), std::vector<float>{1});
    cross_entropy_forward(loss.data(), weight_sum.data(), x, labels, nullptr, {}, exec());
    EXPECT_TRUE(std::isnan(loss.get()[0]));  // the mean of nothing
    EXPECT_EQ(weight_sum.get()[0], 0);
    cross_entropy_backward(dx, one.data(), weight_sum.data(), x, labels, nullptr, {}, exec());
    EXPECT_EQ(dx.get(), std::vector<float>(6, 0));
    cross_entropy_forward(loss.data(), weight_sum.data(), x, labels, nullptr, {false}, exec());
    EXPECT_EQ(loss.get()[0], 0);
  });
}

TEST_P(CrossEntropyTest, ExtremeLogitsStayFinite) {
  for_each_instruction_set(device(), [&] {
    Activation<float> x(device(), 1, 1, 1, 2, 3, {1000, 0, -1000, 80, 80, -3e38f}),
        dx(device(), 1, 1, 1, 2, 3);
    Activation<uint8_t> labels(device(), 1, 1, 1, 2, 1, std::vector<uint8_t>{1, 0});
    Buffer<float> loss(device(), 1), weight_sum(device(), 1), one(device(), std::vector<float>{1});
    cross_entropy_forward(loss.data(), weight_sum.data(), x, labels, nullptr, {false}, exec());
    EXPECT_NEAR(loss.get()[0], 1000 + std::log(2.0), 1e-4);
    cross_entropy_backward(dx, one.data(), weight_sum.data(), x, labels, nullptr, {false}, exec());
    EXPECT_EQ(dx.get(), (std::vector<float>{1, -1, 0, -0.5f, 0.5f, 0}));
  });
}

TEST_P(CrossEntropyTest, WrongShapesAreErrors) {
  Activation<float> x(device(), 1, 1, 1, 4, 3), narrow(device(), 1, 1, 1, 4, 2),
      many(device(), 1, 1, 1, 4, 257);
  Activation<uint8_t> labels(device(), 1, 1, 1, 4, 1), two(device(), 1, 1, 1, 4, 2),
      shorter(device(), 1, 1, 1, 3, 1);
  EXPECT_THROW(cross_entropy_forward(nullptr, nullptr, x, two, nullptr, {}, exec()), std::invalid_argument);
  EXPECT_THROW(cross_entropy_forward(nullptr, nullptr, x, shorter, nullptr, {}, exec()),
               std::invalid_argument);
  EXPECT_THROW(cross_entropy_forward(nullptr, nullptr, many, labels, nullptr, {}, exec()),
               std::invalid_argument);
  EXPECT_THROW(cross_entropy_backward(narrow, nullptr, nullptr, x, labels, nullptr, {}, exec()),
               std::invalid_argument);
}

TEST(CrossEntropyThreads, SameBitsForAnyThreadCount) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  const int64_t voxels = 40001;
  Activation<float> x(DeviceKind::cpu, 1, 1, 1, voxels, 4, uniform(voxels * 4, 1)),
      dx(DeviceKind::cpu, 1, 1, 1, voxels, 4);
  Activation<uint8_t> label_view(DeviceKind::cpu, 1, 1, 1, voxels, 1, labels(voxels, 2, 4));
  Buffer<float> loss(DeviceKind::cpu, 1), weight_sum(DeviceKind::cpu, 1),
      one(DeviceKind::cpu, std::vector<float>{1});
  expect_thread_independent([&] {
    cross_entropy_forward(loss.data(), weight_sum.data(), x, label_view, nullptr, {}, exec);
    cross_entropy_backward(dx, one.data(), weight_sum.data(), x, label_view, nullptr, {}, exec);
    auto all = dx.get();
    all.push_back(loss.get()[0]);
    return all;
  });
}

}  // namespace
}  // namespace vg::test
