#include "kernels/common/divider.h"

#include <gtest/gtest.h>

#include <random>

namespace vg::test {
namespace {

using kernels::Divider;

void expect_divides(int64_t n, int64_t divisor) {
  int64_t rest = n;
  const int64_t quotient = Divider(divisor).split(rest);
  ASSERT_EQ(quotient, n / divisor) << n << " / " << divisor;
  ASSERT_EQ(rest, n % divisor) << n << " % " << divisor;
}

// Around multiples of the divisor, where an inexact quotient would show.
TEST(Divider, IsExactAroundMultiples) {
  for (int64_t divisor = 1; divisor < 300; ++divisor) {
    for (const int64_t quotient :
         {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{1} << 31, ((int64_t{1} << 62) - 1) / divisor - 1}) {
      expect_divides(quotient * divisor, divisor);
      expect_divides(quotient * divisor + (divisor - 1) / 2, divisor);
      if (quotient > 0) expect_divides(quotient * divisor - 1, divisor);
    }
  }
}

TEST(Divider, IsExactForRandomNumbersOfAnySize) {
  std::mt19937_64 generator(1);
  const auto any = [&] { return static_cast<int64_t>(generator() >> (2 + generator() % 62)); };
  for (int i = 0; i < 100000; ++i) {
    const int64_t divisor = std::max<int64_t>(1, any()), n = any();
    expect_divides(n, divisor);
    expect_divides(n / divisor * divisor, divisor);
  }
}

TEST(Divider, ZeroCountsAsOne) {
  EXPECT_EQ(Divider(0).quotient(7), 7);
  EXPECT_EQ(Divider().quotient(7), 7);
}

}  // namespace
}  // namespace vg::test
