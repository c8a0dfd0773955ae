#include <gtest/gtest.h>

#include <dice/fused_sums.h>
#include <cmath>
#include <vector>

#include "support/random_data.h"

namespace exercise::dice {
namespace {

void check(int64_t channels, float size, size_t count) {
  SCOPED_TRACE(testing::Message() << channels << " channels, logits up to " << size);
  const auto width = static_cast<size_t>(channels);
  const auto logits = vg::test::uniform(static_cast<int64_t>(count) * channels, 1, -size, size);
  std::vector<uint8_t> labels(count);
  for (size_t v = 0; v < count; ++v) labels[v] = static_cast<uint8_t>(v * 5 % (width + 1));
  size_t given = 0;
  const auto next = [&](float* voxel, uint8_t& label) {
    if (given == count) return false;
    std::copy_n(&logits[given * width], width, voxel);
    label = labels[given++];
    return true;
  };
  double sums[16][3];
  for (auto& row : sums) row[0] = row[1] = row[2] = NAN;
  fused_sums(sums, next, channels);
  EXPECT_EQ(given, count) << "every voxel is to be read";
  for (size_t c = 0; c < width; ++c) {
    double intersection = 0, prediction = 0, target = 0;
    for (size_t v = 0; v < count; ++v) {
      double inverse = 0;  // 1 / softmax = sum of exp(x_k - x_c): may be infinite, which is right
      for (size_t k = 0; k < width; ++k)
        inverse +=
            std::exp(static_cast<double>(logits[v * width + k]) - static_cast<double>(logits[v * width + c]));
      prediction += 1 / inverse;
      if (labels[v] == c) intersection += 1 / inverse, target += 1;
    }
    EXPECT_NEAR(sums[c][0], intersection, 1e-5 * static_cast<double>(count)) << "intersection, channel " << c;
    EXPECT_NEAR(sums[c][1], prediction, 1e-5 * static_cast<double>(count)) << "prediction, channel " << c;
    EXPECT_EQ(sums[c][2], target) << "target, channel " << c;
  }
}

TEST(DiceFusedSums, AgreeWithSeparatePasses) {
  for (const int64_t channels : {2, 3, 4, 16}) check(channels, 4, 100);
}

TEST(DiceFusedSums, LargeLogitsDoNotOverflow) {
  check(4, 2000, 50);
}

TEST(DiceFusedSums, NoVoxelIsNoSum) {
  check(3, 1, 0);
}

}  // namespace
}  // namespace exercise::dice
