#include <gtest/gtest.h>

#include <random/philox_block.h>

#include "kernels/common/philox.h"

namespace exercise::random {
namespace {

using Words = std::array<uint32_t, 4>;

// Test vectors of the paper's authors (Random123, kat_vectors, philox4x32 with 10 rounds).
TEST(RandomPhiloxBlock, KnownAnswers) {
  EXPECT_EQ(philox_block({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox_block({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox_block({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomPhiloxBlock, AgreesWithTheProduct) {
  for (uint32_t i = 0; i < 1000; ++i) {
    const auto product = vg::kernels::philox(uint64_t{i} << 32 | 5, uint64_t{i} * 0x123456789, i);
    const uint64_t counter = uint64_t{i} * 0x123456789;
    EXPECT_EQ(
        philox_block({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), i, 0}, {5, i}),
        (Words{product.x, product.y, product.z, product.w}))
        << "counter " << i;
  }
}

}  // namespace
}  // namespace exercise::random
