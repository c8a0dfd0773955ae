#include <gtest/gtest.h>
#include <norm3d/input_gradient.h>

#include <cmath>

#include "support/random_data.h"

namespace exercise::norm3d {
namespace {

constexpr double eps = 1e-5;

/// sum of dy y.
double loss(const std::vector<double>& dy, const std::vector<double>& x, double gamma, double beta) {
  const auto count = static_cast<double>(x.size());
  double mean = 0, variance = 0, sum = 0;
  for (const double v : x) mean += v / count;
  for (const double v : x) variance += (v - mean) * (v - mean) / count;
  for (size_t i = 0; i < x.size(); ++i)
    sum += dy[i] * (gamma * (x[i] - mean) / std::sqrt(variance + eps) + beta);
  return sum;
}

void check(int64_t count, float mean) {
  const auto floats = vg::test::uniform(count, 1, mean - 1, mean + 1), seeds = vg::test::uniform(count, 2);
  const std::vector<double> x(floats.begin(), floats.end()), dy(seeds.begin(), seeds.end());
  const double gamma = 1.5, beta = 0.5, h = 1e-4;
  const Gradients g = norm_backward(dy, x, gamma, eps);
  EXPECT_NEAR(g.dbeta, (loss(dy, x, gamma, beta + h) - loss(dy, x, gamma, beta - h)) / (2 * h), 1e-6)
      << "dbeta";
  EXPECT_NEAR(g.dgamma, (loss(dy, x, gamma + h, beta) - loss(dy, x, gamma - h, beta)) / (2 * h), 1e-6)
      << "dgamma";
  ASSERT_EQ(g.dx.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    std::vector<double> above = x, below = x;
    above[i] += h;
    below[i] -= h;
    EXPECT_NEAR(g.dx[i], (loss(dy, above, gamma, beta) - loss(dy, below, gamma, beta)) / (2 * h), 1e-6)
        << "dx[" << i << "] of " << count << ": x moves the mean and the variance too";
  }
}

TEST(Norm3dInputGradient, TwoValues) {
  check(2, 0);
}
TEST(Norm3dInputGradient, SomeValues) {
  check(17, 0);
}
TEST(Norm3dInputGradient, WhereTheMeanIsLarge) {
  check(17, 100);
}

}  // namespace
}  // namespace exercise::norm3d
