#include <adam/chunk_table.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace exercise::adam {
namespace {

struct CountedTable {
  explicit CountedTable(std::vector<int64_t> contents) : entries(std::move(contents)) {}
  int64_t at(int64_t i) {
    ++looks;
    return entries.at(static_cast<size_t>(i));
  }
  std::vector<int64_t> entries;
  int looks = 0;
};

/// Every chunk in order must continue where the one before ended, through all tensors. Returns the most looks
/// of one search.
int check(const std::vector<int64_t>& counts, int64_t chunk_size) {
  CountedTable table(make_first_chunk(counts, chunk_size));
  EXPECT_EQ(table.entries.size(), counts.size() + 1) << "an entry a tensor, and the number of all chunks";
  if (table.entries.size() != counts.size() + 1) return 0;
  int64_t number = 0;
  int most = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    for (int64_t begin = 0; begin < counts[i]; begin += chunk_size, ++number) {
      table.looks = 0;
      const Chunk chunk = find_chunk(number, table, counts, chunk_size);
      most = std::max(most, table.looks);
      EXPECT_EQ(chunk.tensor, static_cast<int>(i)) << "tensor of chunk " << number;
      EXPECT_EQ(chunk.begin, begin) << "first element of chunk " << number;
      EXPECT_EQ(chunk.end, std::min(begin + chunk_size, counts[i])) << "end of chunk " << number;
      if (::testing::Test::HasFailure()) return most;
    }
  }
  EXPECT_EQ(table.entries.back(), number) << "the number of all chunks";
  return most;
}

TEST(AdamChunkTable, ThePagesExample) {
  EXPECT_EQ(make_first_chunk({5184, 3, 0, 4096}, 4096), (std::vector<int64_t>{0, 2, 3, 3, 4}));
  check({5184, 3, 0, 4096}, 4096);
}

TEST(AdamChunkTable, EmptyTensorsAnywhere) {
  check({0, 0, 7, 0, 3, 0, 0, 1, 0}, 2);
  check({1}, 4096);
}

TEST(AdamChunkTable, BisectionNotAWalk) {
  std::vector<int64_t> counts;
  for (int64_t i = 0; i < 118; ++i) counts.push_back(1 + i * 37 % 300);
  EXPECT_LE(check(counts, 64), 10) << "looks at the table for one chunk of 118 tensors";
}

}  // namespace
}  // namespace exercise::adam
