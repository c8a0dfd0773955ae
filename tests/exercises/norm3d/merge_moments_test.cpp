#include <gtest/gtest.h>
#include <norm3d/merge_moments.h>

#include <cmath>
#include <vector>

#include "support/random_data.h"

namespace exercise::norm3d {
namespace {

struct Exact {
  double mean = 0, squares = 0;
};

Exact exact(const std::vector<float>& values) {
  Exact result;
  for (const float v : values) result.mean += v / static_cast<double>(values.size());
  for (const float v : values) result.squares += (v - result.mean) * (v - result.mean);
  return result;
}

/// Single values merged in pairs, as a tree.
Moments tree(const std::vector<float>& values, size_t begin, size_t end) {
  if (end - begin == 1) return {1, values[begin], 0};
  const size_t middle = begin + (end - begin) / 2;
  return merge(tree(values, begin, middle), tree(values, middle, end));
}

void check(const std::vector<float>& values, double tolerance) {
  const Exact expected = exact(values);
  const Moments m = tree(values, 0, values.size());
  const double deviation = std::sqrt(expected.squares / static_cast<double>(values.size()));
  EXPECT_EQ(m.count, static_cast<float>(values.size()));
  EXPECT_NEAR(m.mean, expected.mean, 1e-7 * std::abs(expected.mean) + 1e-5 * deviation) << "the mean";
  EXPECT_NEAR(m.squares, expected.squares, tolerance * expected.squares)
      << "the sum of squares about the mean, of " << values.size() << " values with mean " << expected.mean
      << " and deviation " << deviation;
}

TEST(Norm3dMergeMoments, EmptyParts) {
  const Moments some{3, 5, 2};
  for (const Moments& m : {merge(some, {}), merge({}, some)}) {
    EXPECT_EQ(m.count, 3);
    EXPECT_EQ(m.mean, 5) << "an empty part changes nothing";
    EXPECT_EQ(m.squares, 2) << "an empty part changes nothing";
  }
  EXPECT_EQ(merge({}, {}).mean, 0) << "two empty parts: no division by zero";
}

TEST(Norm3dMergeMoments, PartsOfDifferentSize) {
  // {1, 2, 3} and {7}: mean 13/4, squares 2 + 0 + 3 (2 - 13/4)^2 + (7 - 13/4)^2 = 20.75
  const Moments m = merge({3, 2, 2}, {1, 7, 0});
  EXPECT_FLOAT_EQ(m.mean, 3.25f) << "means are weighted by counts";
  EXPECT_FLOAT_EQ(m.squares, 20.75f) << "squares about the common mean";
}

TEST(Norm3dMergeMoments, ManyValues) {
  check(vg::test::uniform(1000, 1), 1e-5);
}

TEST(Norm3dMergeMoments, WhereTheMeanIsLarge) {
  check(vg::test::uniform(4096, 2, 9999, 10001), 1e-3);
}

}  // namespace
}  // namespace exercise::norm3d
