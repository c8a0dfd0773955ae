#include <gtest/gtest.h>
#include <softmax/gradient.h>

#include <cmath>

#include "support/random_data.h"

namespace exercise::softmax {
namespace {

/// In double, by differences: 1 / sum over k of e^(x_k - x_c).
std::vector<double> exact(const std::vector<double>& x) {
  std::vector<double> y;
  for (const double c : x) {
    double sum = 0;
    for (const double k : x) sum += std::exp(k - c);
    y.push_back(1 / sum);
  }
  return y;
}

TEST(SoftmaxGradient, ForwardOfAnySize) {
  for (const std::vector<float>& x :
       {std::vector<float>{0}, {1, 2, 3, 4}, {1000, 999, -1000}, {-1000, -1000}, {90, 0}}) {
    const auto y = softmax(x);
    const auto expected = exact(std::vector<double>(x.begin(), x.end()));
    ASSERT_EQ(y.size(), x.size());
    for (size_t c = 0; c < y.size(); ++c) {
      EXPECT_NEAR(y[c], expected[c], 4e-7) << "class " << c << " with logit " << x[c]
                                           << ": does an exponential overflow, or do all of them vanish?";
    }
  }
}

TEST(SoftmaxGradient, BackwardIsTheSlope) {
  for (const int classes : {1, 2, 4, 7}) {
    const auto x = vg::test::uniform(classes, 1, -2, 2), dy = vg::test::uniform(classes, 2);
    const auto loss = [&](size_t k, double h) {  // sum of dy y with logit k moved by h
      std::vector<double> moved(x.begin(), x.end());
      moved[k] += h;
      const auto y = exact(moved);
      double sum = 0;
      for (size_t c = 0; c < y.size(); ++c) sum += dy[c] * y[c];
      return sum;
    };
    const auto y = exact(std::vector<double>(x.begin(), x.end()));
    const auto dx = softmax_backward(dy, std::vector<float>(y.begin(), y.end()));
    ASSERT_EQ(dx.size(), x.size());
    for (size_t k = 0; k < dx.size(); ++k) {
      EXPECT_NEAR(dx[k], (loss(k, 1e-5) - loss(k, -1e-5)) / 2e-5, 1e-6)
          << "dx of logit " << k << " of " << classes << ": every y_c depends on x_k, through the sum";
    }
  }
}

}  // namespace
}  // namespace exercise::softmax
