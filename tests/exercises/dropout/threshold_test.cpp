#include <gtest/gtest.h>

#include <dropout/threshold.h>
#include <cmath>

#include "kernels/common/philox.h"

namespace exercise::dropout {
namespace {

TEST(DropoutThreshold, AgreesWithTheFloatComparisonForWordsAroundIt) {
  const float probabilities[] = {0,    0x1p-24f, 0x1.8p-24f, 0x1p-30f, 0.1f,  0.25f,
                                 0.3f, 0.5f,     0.7f,       0.75f,    0.99f, std::nextafter(1.0f, 0.0f)};
  for (const float probability : probabilities) {
    const uint32_t edge = threshold(probability);
    const auto near = static_cast<int64_t>(static_cast<double>(probability) * 0x1p32);
    for (int64_t word = near - 2000; word <= near + 2000; ++word) {
      if (word < 0 || word > 0xffffffff) continue;
      const auto bits = static_cast<uint32_t>(word);
      ASSERT_EQ(bits < edge, vg::kernels::uniform_from_bits(bits) < probability)
          << "word " << bits << ", probability " << probability;
    }
    EXPECT_EQ(0xffffffffu < edge, vg::kernels::uniform_from_bits(0xffffffffu) < probability);
  }
}

}  // namespace
}  // namespace exercise::dropout
