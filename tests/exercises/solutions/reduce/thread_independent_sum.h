#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace exercise::reduce {

// The pieces depend on the count alone, each is summed in its order by whoever takes it, then they are added
// in theirs.
template <class Run>
float thread_independent_sum(const float* values, int64_t count, const Run& run) {
  constexpr int64_t piece_size = 16384;
  const int64_t pieces = (count + piece_size - 1) / piece_size;
  std::vector<float> partial(static_cast<size_t>(pieces));
  run(pieces, [&](int64_t piece) {
    float sum = 0;
    for (int64_t i = piece * piece_size; i < std::min((piece + 1) * piece_size, count); ++i) sum += values[i];
    partial[static_cast<size_t>(piece)] = sum;
  });
  float total = 0;
  for (const float sum : partial) total += sum;
  return total;
}

}  // namespace exercise::reduce
