#pragma once

#include <cstdint>

namespace exercise::reduce {

inline float pairwise_sum(const float* values, int64_t count) {
  if (count <= 8) {  // calls cost more than additions: stop early
    float sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += values[i];
    return sum;
  }
  const int64_t half = count / 2;
  return pairwise_sum(values, half) + pairwise_sum(values + half, count - half);
}

}  // namespace exercise::reduce
