#include "kernels/common/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace vg::test {
namespace {

using namespace vg::kernels;

std::vector<uint32_t> words(const Uint4& r) {
  return {r.x, r.y, r.z, r.w};
}

// The known answers of Random123 1.14 (tests/kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, KnownAnswersOfRandom123) {
  EXPECT_EQ(words(philox(0, 0, 0)), (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint64_t ones = ~uint64_t{0};
  EXPECT_EQ(words(philox(ones, ones, ones)),
            (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // Counter and key are the digits of pi.
  EXPECT_EQ(words(philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e)),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UniformIsHalfOpenAndExact) {
  EXPECT_EQ(uniform_from_bits(0), 0.0f);
  EXPECT_EQ(uniform_from_bits(0xFF), 0.0f);  // the lower 8 bits are not used
  EXPECT_EQ(uniform_from_bits(0x80000000u), 0.5f);
  EXPECT_EQ(uniform_from_bits(0xFFFFFFFFu), 1 - 0x1p-24f);
}

TEST(Philox, FourElementsShareACounter) {
  const uint64_t seed = 0x123456789abcdef0, offset = 0xfedcba9876543210;
  for (const uint64_t block : {uint64_t{0}, uint64_t{1}, uint64_t{0x300000000}}) {
    const auto expected = words(philox(seed, block, offset));
    for (uint64_t lane = 0; lane < 4; ++lane)
      EXPECT_EQ(philox_uniform(seed, offset, 4 * block + lane), uniform_from_bits(expected[lane]));
  }
}

// Mean 1/2 and variance 1/12, each within five standard errors, and no two seeds or offsets alike.
TEST(Philox, MomentsOfTheUniformDraw) {
  const uint64_t count = 100000;
  double sum = 0, squares = 0;
  uint64_t equal = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const double u = static_cast<double>(philox_uniform(7, 1, i)) - 0.5;
    sum += u, squares += u * u;
    equal += philox_uniform(7, 1, i) == philox_uniform(7, 2, i);
    equal += philox_uniform(7, 1, i) == philox_uniform(8, 1, i);
  }
  const double n = static_cast<double>(count);
  EXPECT_LE(std::abs(sum / n), 5 * std::sqrt(1 / 12.0 / n));
  EXPECT_LE(std::abs(squares / n - 1 / 12.0), 5 * std::sqrt(1 / 180.0 / n));
  EXPECT_LE(equal, 2u);
}

}  // namespace
}  // namespace vg::test
