// Comparison with an oracle in double, safe against NaN, and the tolerances that it uses.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace vg::test {

/// Bound on |float result - exact| for a sum of `length` products of values of magnitude about `magnitude`,
/// summed in float with any order: random-walk growth of the rounding error with a safety factor of 8.
inline double float_tolerance(int64_t length, double magnitude = 1.0) {
  return 8 * 0x1p-24 * std::sqrt(static_cast<double>(std::max<int64_t>(length, 1))) * magnitude;
}

/// Every |actual - expected| <= absolute + relative * |expected|; written so that NaN fails. Reports the
/// worst element.
template <class A, class B>
::testing::AssertionResult all_close(const std::vector<A>& actual, const std::vector<B>& expected,
                                     double absolute, double relative = 0) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << "sizes differ: " << actual.size() << " and " << expected.size();
  }
  size_t worst = 0, failures = 0;
  double worst_excess = -1;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double a = static_cast<double>(actual[i]), b = static_cast<double>(expected[i]);
    const double error = std::abs(a - b), bound = absolute + relative * std::abs(b);
    if (error <= bound) continue;
    ++failures;
    const double excess = std::isnan(error) ? INFINITY : error - bound;
    if (excess > worst_excess) worst = i, worst_excess = excess;
  }
  if (failures == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << failures << " of " << actual.size() << " elements differ; worst at index " << worst << ": "
         << actual[worst] << ", expected " << expected[worst] << " (tolerance " << absolute << " + "
         << relative << " * |expected|)";
}

}  // namespace vg::test
