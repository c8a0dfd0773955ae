#include <gtest/gtest.h>

#include <resample3d/doubling.h>
#include <algorithm>
#include <cmath>
#include <vector>

namespace exercise::resample3d {
namespace {

TEST(Resample3dDoubling, AgreesWithTheFormula) {
  for (int64_t count = 1; count <= 17; ++count) {
    std::vector<float> x(static_cast<size_t>(count)), y(static_cast<size_t>(2 * count), NAN);
    for (int64_t i = 0; i < count; ++i) x[static_cast<size_t>(i)] = static_cast<float>(4 * (i * i % 7) - 8);
    doubling(y.data(), x.data(), count);
    for (int64_t o = 0; o < 2 * count; ++o) {
      const double s = std::max(0.0, 0.5 * (static_cast<double>(o) + 0.5) - 0.5), low = std::floor(s),
                   a = s - low;
      const auto i0 = static_cast<size_t>(low), i1 = std::min(i0 + 1, static_cast<size_t>(count - 1));
      EXPECT_EQ(y[static_cast<size_t>(o)], (1 - a) * x[i0] + a * x[i1])
          << "output " << o << " of " << 2 * count;
    }
  }
}

}  // namespace
}  // namespace exercise::resample3d
