#include <conv3d/sliding_window.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "support/random_data.h"

namespace exercise::conv3d {
namespace {

/// Memory that counts how often each element is touched.
struct Counted {
  explicit Counted(std::vector<float> contents) : values(std::move(contents)), touched(values.size(), 0) {}
  float load(int64_t i) { return (*this)[i]; }
  float& operator[](int64_t i) {
    ++touched.at(static_cast<size_t>(i));  // throws beyond the row
    return values[static_cast<size_t>(i)];
  }
  [[nodiscard]] int most() const {
    return touched.empty() ? 0 : *std::max_element(touched.begin(), touched.end());
  }
  std::vector<float> values;
  std::vector<int> touched;
};

class Conv3dSlidingWindow : public ::testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Widths, Conv3dSlidingWindow, ::testing::Values(0, 1, 2, 3, 7, 80));

TEST_P(Conv3dSlidingWindow, AddsTheRowWithOneLoadAValue) {
  const int64_t width = GetParam();
  const float taps[3] = {2, -3, 5};
  const auto input = vg::test::integers(width + 2, 1), before = vg::test::integers(width, 2);
  Counted x(input), y(before);
  add_row(y, x, taps, width);
  for (int64_t w = 0; w < width; ++w) {
    const auto i = static_cast<size_t>(w);
    ASSERT_EQ(y.values[i], before[i] + 2 * input[i] - 3 * input[i + 1] + 5 * input[i + 2])
        << "output " << w << " of " << width << " (it starts from what y holds already: +=)";
  }
  EXPECT_LE(x.most(), 1) << "a value of x was loaded more than once: keep the last two in variables";
  EXPECT_LE(y.most(), 2) << "an output was touched more than twice: add its three products in a register";
}

}  // namespace
}  // namespace exercise::conv3d
