#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>

namespace exercise::resample3d {

inline void gather_backward(const std::function<void(int64_t, double)>& store, const double* dy,
                            int64_t inputs, int64_t outputs) {
  const auto position = [&](int64_t o) {
    return std::max(
        0.0,
        static_cast<double>(inputs) / static_cast<double>(outputs) * (static_cast<double>(o) + 0.5) - 0.5);
  };
  // positions grow with o: input i is read from the first output at or beyond i - 1 to the last one before i
  // + 1
  int64_t first = 0;
  for (int64_t i = 0; i < inputs; ++i) {
    while (first < outputs && position(first) < static_cast<double>(i - 1)) ++first;
    double sum = 0;
    for (int64_t o = first; o < outputs && position(o) < static_cast<double>(i + 1); ++o) {
      const double s = position(o), low = std::floor(s), a = s - low;
      const auto i0 = static_cast<int64_t>(low), i1 = std::min(i0 + 1, inputs - 1);
      if (i0 == i) sum += dy[o] * (1 - a);
      if (i1 == i) sum += dy[o] * a;
    }
    store(i, sum);
  }
}

}  // namespace exercise::resample3d
