#include <gtest/gtest.h>

#include <augment/ghosting_matrix.h>
#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

namespace exercise::augment {
namespace {

TEST(AugmentGhostingMatrix, IsTheTransformThereAndBack) {
  for (const int64_t length : {1, 2, 3, 4, 7, 16, 25}) {
    const auto n = static_cast<size_t>(length);
    std::vector<double> factors(n), matrix(n * n, NAN), x(n);
    for (size_t p = 0; p < n; ++p) {
      factors[p] = p % 3 == 0 ? 0.25 : 1;
      x[p] = static_cast<double>(p * p % 13) - 4;
    }
    ghosting_matrix(matrix.data(), factors.data(), length);
    using Complex = std::complex<double>;
    std::vector<Complex> back(n);
    for (size_t p = 0; p < n; ++p) {
      const double frequency = static_cast<double>(p) - static_cast<double>(n / 2);
      const double step = 2 * std::numbers::pi * frequency / static_cast<double>(n);
      Complex plane = 0;
      for (size_t j = 0; j < n; ++j) plane += x[j] * std::polar(1.0, -step * static_cast<double>(j));
      for (size_t i = 0; i < n; ++i)
        back[i] +=
            factors[p] * plane * std::polar(1.0, step * static_cast<double>(i)) / static_cast<double>(n);
    }
    for (size_t i = 0; i < n; ++i) {
      double y = 0;
      for (size_t j = 0; j < n; ++j) y += matrix[i * n + j] * x[j];
      EXPECT_NEAR(y, back[i].real(), 1e-10) << "voxel " << i << " of " << n;
    }
  }
}

TEST(AugmentGhostingMatrix, FactorsOfOneChangeNothing) {
  std::vector<double> factors(9, 1.0), matrix(81, NAN);
  ghosting_matrix(matrix.data(), factors.data(), 9);
  for (size_t i = 0; i < 81; ++i) EXPECT_NEAR(matrix[i], i % 10 == 0 ? 1 : 0, 1e-12) << "element " << i;
}

}  // namespace
}  // namespace exercise::augment
