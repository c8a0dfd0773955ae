#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace exercise::adam {

struct Chunk {
  int tensor;
  int64_t begin, end;
};

inline std::vector<int64_t> make_first_chunk(const std::vector<int64_t>& counts, int64_t chunk_size) {
  std::vector<int64_t> first_chunk{0};
  for (const int64_t count : counts)
    first_chunk.push_back(first_chunk.back() + (count + chunk_size - 1) / chunk_size);
  return first_chunk;
}

template <class Table>
Chunk find_chunk(int64_t number, Table& table, const std::vector<int64_t>& counts, int64_t chunk_size) {
  // The last tensor with first_chunk <= number: empty tensors share their value with the one behind them, and
  // lose.
  int low = 0, high = static_cast<int>(counts.size());  // first_chunk[low] <= number < first_chunk[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.at(middle) <= number) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const int64_t begin = (number - table.at(low)) * chunk_size;
  return {low, begin, std::min(begin + chunk_size, counts[static_cast<size_t>(low)])};
}

}  // namespace exercise::adam
