#include <gtest/gtest.h>

#include <random/shuffled_index.h>
#include <algorithm>
#include <numeric>
#include <vector>

namespace exercise::random {
namespace {

std::vector<uint64_t> permutation(uint64_t count, uint64_t seed) {
  std::vector<uint64_t> result(count);
  for (uint64_t i = 0; i < count; ++i) result[i] = shuffled_index(i, count, seed);
  return result;
}

TEST(RandomShuffledIndex, IsAPermutation) {
  for (const uint64_t count : {1u, 2u, 3u, 4u, 5u, 16u, 17u, 100u, 1000u, 4097u}) {
    std::vector<uint64_t> sorted = permutation(count, 3), all(count);
    std::sort(sorted.begin(), sorted.end());
    std::iota(all.begin(), all.end(), uint64_t{0});
    ASSERT_EQ(sorted, all) << count << " elements";
  }
}

TEST(RandomShuffledIndex, FollowsTheSeed) {
  EXPECT_EQ(permutation(100, 1), permutation(100, 1));
  EXPECT_NE(permutation(100, 1), permutation(100, 2));
}

// Over many seeds every element visits every place about equally often: 16,000 draws on 16 places,
// deviation 31.
TEST(RandomShuffledIndex, PlacesAreEvenlyDrawn) {
  std::vector<int> visits(16);
  for (uint64_t seed = 0; seed < 16000; ++seed) ++visits[shuffled_index(5, 16, seed)];
  for (size_t place = 0; place < visits.size(); ++place)
    EXPECT_NEAR(visits[place], 1000, 160) << "place " << place;
}

}  // namespace
}  // namespace exercise::random
