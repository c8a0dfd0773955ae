#include <gtest/gtest.h>

#include <attention_gate/one_pass_sums.h>
#include <random>
#include <vector>

namespace exercise::attention_gate {
namespace {

void check(size_t count, double active_share) {
  std::mt19937 random(2);
  std::normal_distribution<double> normal;
  std::bernoulli_distribution active(active_share);
  std::vector<ScoreVoxel> voxels(count);
  for (ScoreVoxel& v : voxels)
    v = {normal(random) + 0.5, normal(random), normal(random) - 0.25, active(random)};
  size_t given = 0;
  const auto next = [&](ScoreVoxel& v) {
    if (given == count) return false;
    v = voxels[given++];
    return true;
  };
  const double scale = 1.75, w = -0.5;
  const auto sums = one_pass_sums(next, scale, w);
  EXPECT_EQ(given, count) << "every voxel is to be read";

  double mean = 0, slope = 0, dh_sum = 0, dh_a_sum = 0;
  for (const ScoreVoxel& v : voxels) {
    mean += v.dz / static_cast<double>(count);
    slope += v.dz * v.s_hat / static_cast<double>(count);
  }
  for (const ScoreVoxel& v : voxels) {
    const double dh = v.active ? w * scale * (v.dz - mean - v.s_hat * slope) : 0;
    dh_sum += dh;
    dh_a_sum += dh * v.a_hat;
  }
  EXPECT_NEAR(sums[0], dh_sum, 1e-9 * static_cast<double>(count)) << "sum dh";
  EXPECT_NEAR(sums[1], dh_a_sum, 1e-9 * static_cast<double>(count)) << "sum dh a_hat";
}

TEST(AttentionGateOnePassSums, AgreeWithTwoPasses) {
  for (const size_t count : {1u, 2u, 17u, 1000u}) check(count, 0.6);
}

TEST(AttentionGateOnePassSums, AllActiveOrNone) {
  check(100, 1);
  check(100, 0);
}

}  // namespace
}  // namespace exercise::attention_gate
