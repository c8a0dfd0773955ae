// Reproducible test data.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace vg::test {

/// Small integers in [-range, range] as floats: sums of products stay exact in float, so that indexing is
/// tested at tolerance 0.
inline std::vector<float> integers(int64_t count, uint32_t seed, int range = 3) {
  std::mt19937 generator(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values)
    v = static_cast<float>(static_cast<int>(generator() % static_cast<uint32_t>(2 * range + 1)) - range);
  return values;
}

/// Uniform in [low, high).
inline std::vector<float> uniform(int64_t count, uint32_t seed, float low = -1, float high = 1) {
  std::mt19937 generator(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = low + (high - low) * static_cast<float>(generator() >> 8) * 0x1p-24f;
  return values;
}

inline std::vector<uint8_t> labels(int64_t count, uint32_t seed, int classes) {
  std::mt19937 generator(seed);
  std::vector<uint8_t> values(static_cast<size_t>(count));
  for (uint8_t& v : values) v = static_cast<uint8_t>(generator() % static_cast<uint32_t>(classes));
  return values;
}

}  // namespace vg::test
