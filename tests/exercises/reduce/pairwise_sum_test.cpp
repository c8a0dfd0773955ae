#include <gtest/gtest.h>

#include <reduce/pairwise_sum.h>
#include <cmath>
#include <numeric>

#include "support/random_data.h"

namespace exercise::reduce {
namespace {

TEST(ReducePairwiseSum, EveryValueCountsOnce) {
  for (const int64_t count : {0, 1, 2, 3, 5, 7, 8, 9, 17, 1000, 4097}) {
    const auto values = vg::test::integers(count, 1);
    EXPECT_EQ(pairwise_sum(values.data(), count), std::accumulate(values.begin(), values.end(), 0.0f))
        << "for " << count << " small integers, whose sum is exact in any order: is a value left out or "
        << "taken twice where a half is odd?";
  }
}

TEST(ReducePairwiseSum, ErrorGrowsWithTheLogarithm) {
  const int64_t count = int64_t{1} << 22;
  const auto values = vg::test::uniform(count, 2, 0, 1);
  const double exact = std::accumulate(values.begin(), values.end(), 0.0);
  const double rounding = exact * 0x1p-24;  // of one addition near the end
  const double error = std::abs(static_cast<double>(pairwise_sum(values.data(), count)) - exact);
  EXPECT_LE(error / rounding, 25) << "roundings of error in a sum of 2^22 values: a value takes part in too "
                                  << "many additions. Halves first, then their sum.";
}

}  // namespace
}  // namespace exercise::reduce
