#include <activation/prelu_gradient.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/random_data.h"

namespace exercise::activation {
namespace {

struct Gradients {
  std::vector<float> dx, dslopes;
};

Gradients gradients(const std::vector<float>& dy, const std::vector<float>& x,
                    const std::vector<float>& slopes, const std::vector<float>& before, int channels) {
  Gradients result{std::vector<float>(x.size(), std::numeric_limits<float>::quiet_NaN()), before};
  prelu_backward(result.dx, result.dslopes, dy, x, slopes, channels);
  return result;
}

void check(int voxels, int channels, const std::vector<float>& slopes) {
  const auto x = vg::test::integers(voxels * channels, 1), dy = vg::test::integers(voxels * channels, 2);
  std::vector<float> before(slopes.size(), 10);
  const Gradients actual = gradients(dy, x, slopes, before, channels);
  std::vector<double> expected(before.begin(), before.end());
  for (int v = 0; v < voxels; ++v) {
    for (int c = 0; c < channels; ++c) {
      const auto i = static_cast<size_t>(v * channels + c);
      const size_t s = slopes.size() == 1 ? 0 : static_cast<size_t>(c);
      EXPECT_EQ(actual.dx[i], x[i] > 0 ? dy[i] : slopes[s] * dy[i])
          << "dx where x = " << x[i] << ", dy = " << dy[i];
      if (x[i] <= 0) expected[s] += static_cast<double>(x[i]) * dy[i];
    }
  }
  for (size_t s = 0; s < slopes.size(); ++s) {
    EXPECT_EQ(actual.dslopes[s], expected[s])
        << "gradient of slope " << s << " of " << slopes.size() << " (it held 10 before: it accumulates)";
  }
}

TEST(ActivationPreluGradient, OneSlopeForAllChannels) {
  check(23, 3, {0.25f});
}
TEST(ActivationPreluGradient, OneSlopeAChannel) {
  check(23, 3, {0.25f, -2, 0.5f});
}

TEST(ActivationPreluGradient, ZeroIsNegativeAndNanPasses) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Gradients g = gradients({8, 8, 8}, {0.0f, -0.0f, nan}, {0.25f}, {0}, 1);
  EXPECT_EQ(g.dx[0], 2) << "at x = 0 the derivative is the slope";
  EXPECT_EQ(g.dx[1], 2) << "at x = -0 the derivative is the slope";
  EXPECT_EQ(g.dx[2], 8) << "where x is NaN, dx is dy";
  EXPECT_EQ(g.dslopes[0], 0) << "NaN is not on the negative side: it adds nothing";
}

TEST(ActivationPreluGradient, LongSumsLoseNothing) {
  const size_t count = 1 << 21;
  const Gradients g =
      gradients(std::vector<float>(count, 1), std::vector<float>(count, -0.1f), {0.25f}, {0}, 1);
  const double exact = static_cast<double>(count) * static_cast<double>(-0.1f);
  EXPECT_NEAR(g.dslopes[0], exact, 1e-7 * std::abs(exact)) << "summed in float, most of this sum is rounding";
}

}  // namespace
}  // namespace exercise::activation
