#include <gtest/gtest.h>
#include <softmax/one_pass.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/random_data.h"

namespace exercise::softmax {
namespace {

struct CountedLogits {
  explicit CountedLogits(std::vector<float> contents)
      : values(std::move(contents)), reads(values.size(), 0) {}
  float load(int64_t c) {
    ++reads.at(static_cast<size_t>(c));
    return values[static_cast<size_t>(c)];
  }
  std::vector<float> values;
  std::vector<int> reads;
};

void check(const std::vector<float>& values) {
  const double largest = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (const float v : values) sum += std::exp(v - largest);
  const double expected = largest + std::log(sum);
  CountedLogits x(values);
  EXPECT_NEAR(log_sum_exp(x, static_cast<int64_t>(values.size())), expected, 1e-6 * (1 + std::abs(expected)))
      << "of " << values.size() << " logits, the first " << values[0] << ", the largest " << largest;
  for (const int reads : x.reads) ASSERT_EQ(reads, 1) << "a logit was read " << reads << " times";
}

TEST(SoftmaxOnePass, FewLogits) {
  check({3});
  check({1, 2});
  check({2, 1});
  check({0, 0, 0, 0});
}

TEST(SoftmaxOnePass, LogitsThatOverflowAlone) {
  check({-1000, 0, 1000});
  check({1000, 0, -1000});
  check({-1000, -999, -1001});
}

TEST(SoftmaxOnePass, ManyLogits) {
  check(vg::test::uniform(1000, 1, -5, 5));
  auto rising = vg::test::uniform(1000, 2, -200, 200);
  std::sort(rising.begin(), rising.end());
  check(rising);
}

}  // namespace
}  // namespace exercise::softmax
