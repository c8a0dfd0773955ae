#include <gtest/gtest.h>

#include <attention_gate/attend_backward.h>
#include <cmath>
#include <random>
#include <vector>

#include "exercises/support/derivative.h"

namespace exercise::attention_gate {
namespace {

double attend(const std::vector<double>& x, double score, const std::vector<double>& dy) {
  double sum = 0;
  for (size_t c = 0; c < x.size(); ++c) sum += dy[c] * x[c] / (1 + std::exp(-score));
  return sum;
}

TEST(AttentionGateAttendBackward, MatchesFiniteDifferences) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  for (const size_t channels : {1u, 3u, 16u}) {
    for (double score : {-4.0, -0.5, 0.0, 1.25, 5.0}) {
      std::vector<double> x(channels), dy(channels), dx(channels, NAN);
      for (double& value : x) value = normal(random);
      for (double& value : dy) value = normal(random);
      const double dscore =
          attend_backward(dx.data(), dy.data(), x.data(), score, static_cast<int64_t>(channels));
      EXPECT_NEAR(dscore, derivative(score, [&] { return attend(x, score, dy); }), 1e-7) << "dscore";
      for (size_t c = 0; c < channels; ++c)
        EXPECT_NEAR(dx[c], derivative(x[c], [&] { return attend(x, score, dy); }), 1e-7)
            << "dx, channel " << c;
    }
  }
}

TEST(AttentionGateAttendBackward, LargeScoresAreFinite) {
  const double dy[1] = {1}, x[1] = {2};
  for (const double score : {-800.0, 800.0}) {
    double dx[1] = {NAN};
    EXPECT_EQ(attend_backward(dx, dy, x, score, 1), 0) << "the gate is saturated at score " << score;
    EXPECT_EQ(dx[0], score > 0 ? 1 : 0);
  }
}

}  // namespace
}  // namespace exercise::attention_gate
