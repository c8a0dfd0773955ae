#include <elementwise/bfloat16_rounding.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

namespace exercise::elementwise {
namespace {

double value_of(uint32_t upper_half) {
  return std::bit_cast<float>(upper_half << 16);
}

/// By comparison of distances in double, not by bits.
uint16_t oracle(uint32_t bits) {
  const double x = std::bit_cast<float>(bits);
  const uint32_t below = bits >> 16, above = below + 1;  // away from zero
  const double largest = value_of(0x7F7F);
  // Infinity counts as what would be the next value, 2^128.
  const double next = std::abs(value_of(below)) == largest ? std::copysign(0x1p128, x) : value_of(above);
  const double to_below = std::abs(x - value_of(below)), to_above = std::abs(next - x);
  if (std::isinf(x) || to_below < to_above) return static_cast<uint16_t>(below);
  if (to_above < to_below) return static_cast<uint16_t>(above);
  return static_cast<uint16_t>(below % 2 == 0 ? below : above);
}

void check(uint32_t bits, const char* what) {
  EXPECT_EQ(to_bfloat16(bits), oracle(bits)) << std::hex << what << ": bits 0x" << bits << ", expected 0x"
                                             << oracle(bits) << ", got 0x" << to_bfloat16(bits);
}

TEST(ElementwiseBfloat16Rounding, NearestAndTies) {
  for (const uint32_t sign : {0u, 0x80000000u}) {
    check(sign | 0x3F800000, "a value that bfloat16 has");
    check(sign | 0x3F807FFF, "just below the middle");
    check(sign | 0x3F808000, "the middle, the lower neighbour is even");
    check(sign | 0x3F818000, "the middle, the upper neighbour is even");
    check(sign | 0x3F808001, "just above the middle");
    check(sign | 0x3FFFC000, "a carry into the exponent");
  }
}

TEST(ElementwiseBfloat16Rounding, EndsOfTheRange) {
  for (const uint32_t sign : {0u, 0x80000000u}) {
    check(sign, "zero");
    check(sign | 1, "the smallest denormal");
    check(sign | 0x00008001, "a denormal that rounds up");
    check(sign | 0x007FFFFF, "the largest denormal");
    check(sign | 0x7F7F7FFF, "the last that stays finite");
    check(sign | 0x7F7F8000, "the first that becomes infinity");
    check(sign | 0x7F800000, "infinity");
  }
}

TEST(ElementwiseBfloat16Rounding, NanStaysNan) {
  for (const uint32_t bits : {0x7F800001u, 0x7FC00000u, 0x7FFFFFFFu, 0xFF800001u, 0xFFFFFFFFu}) {
    const uint32_t rounded = to_bfloat16(bits);
    EXPECT_TRUE(std::isnan(value_of(rounded)))
        << std::hex << "NaN with bits 0x" << bits << " became 0x" << rounded;
    EXPECT_EQ(rounded >> 15, bits >> 31) << "its sign";
  }
}

TEST(ElementwiseBfloat16Rounding, RandomBits) {
  std::mt19937 generator(1);
  for (int i = 0; i < 100000 && !HasFailure(); ++i) {
    const auto bits = static_cast<uint32_t>(generator());
    if (!std::isnan(std::bit_cast<float>(bits))) check(bits, "random");
  }
}

}  // namespace
}  // namespace exercise::elementwise
