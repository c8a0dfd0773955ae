// One after the other.
#pragma once

#include <cstdint>

namespace exercise::reduce {

inline float pairwise_sum(const float* values, int64_t count) {
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += values[i];
  return sum;
}

}  // namespace exercise::reduce
