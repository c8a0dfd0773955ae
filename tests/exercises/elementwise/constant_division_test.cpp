#include <elementwise/constant_division.h>
#include <gtest/gtest.h>

#include <random>

namespace exercise::elementwise {
namespace {

constexpr uint64_t limit = uint64_t{1} << 31;

/// The quotient by multiplication; fails the test where the product overflows.
uint64_t quotient(uint64_t n, const Divider& d) {
  uint64_t product = 0;
  EXPECT_FALSE(__builtin_mul_overflow(n, d.multiplier, &product))
      << n << " * " << d.multiplier << " overflows";
  return product >> d.shift;
}

void check(uint32_t divisor) {
  const Divider d = make_divider(divisor);
  ASSERT_TRUE(d.shift >= 0 && d.shift < 64) << "shift " << d.shift << " for divisor " << divisor;
  const uint64_t last = (limit - 1) / divisor * divisor;  // the largest multiple: exactness ends there first
  for (const uint64_t n :
       {uint64_t{0}, uint64_t{divisor} - 1, uint64_t{divisor}, last - 1, last, limit - 1}) {
    if (n >= limit) continue;  // last = 0
    ASSERT_EQ(quotient(n, d), n / divisor)
        << n << " / " << divisor << " by multiplier " << d.multiplier << " and shift " << d.shift;
  }
}

TEST(ElementwiseConstantDivision, SmallDivisors) {
  for (uint32_t divisor = 1; divisor <= 4096 && !HasFatalFailure(); ++divisor) check(divisor);
}

TEST(ElementwiseConstantDivision, PowersOfTwoAndTheirNeighbours) {
  for (int bit = 1; bit < 31 && !HasFatalFailure(); ++bit) {
    for (const uint32_t divisor : {(1u << bit) - 1, 1u << bit, (1u << bit) + 1}) check(divisor);
  }
  check(0x7FFFFFFF);
}

TEST(ElementwiseConstantDivision, RandomDivisorsAndNumbers) {
  std::mt19937 generator(1);
  for (int i = 0; i < 2000 && !HasFatalFailure(); ++i) {
    const uint32_t divisor = static_cast<uint32_t>(generator() >> (1 + generator() % 30)) | 1;
    check(divisor);
    const Divider d = make_divider(divisor);
    for (int j = 0; j < 50; ++j) {
      const uint64_t n = generator() >> 1;
      ASSERT_EQ(quotient(n, d), n / divisor) << n << " / " << divisor;
    }
  }
}

}  // namespace
}  // namespace exercise::elementwise
