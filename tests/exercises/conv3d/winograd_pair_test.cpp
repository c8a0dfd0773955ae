#include <conv3d/winograd_pair.h>
#include <gtest/gtest.h>

namespace exercise::conv3d {
namespace {

struct Count {
  int multiplications = 0, additions = 0;
};

/// A number that counts what is done with it.
struct Number {
  double value;
  Count* count;
  Number operator+(const Number& b) const { return ++count->additions, Number{value + b.value, count}; }
  Number operator-(const Number& b) const { return ++count->additions, Number{value - b.value, count}; }
  Number operator*(const Number& b) const { return ++count->multiplications, Number{value * b.value, count}; }
};

/// Winograd's two outputs for inputs x and taps g.
std::array<double, 2> outputs(const std::array<double, 4>& x, const std::array<float, 3>& g, Count& count) {
  const std::array<float, 4> t = transform_taps(g);
  std::array<Number, 4> inputs{}, transformed{};
  for (size_t i = 0; i < 4; ++i) inputs[i] = {x[i], &count}, transformed[i] = {t[i], &count};
  const auto y = winograd_pair(inputs, transformed);
  return {y[0].value, y[1].value};
}

TEST(Conv3dWinogradPair, EachProductOfInputAndTapArrives) {
  for (size_t tap = 0; tap < 3; ++tap) {
    for (size_t input = 0; input < 4; ++input) {
      std::array<float, 3> g{};
      std::array<double, 4> x{};
      g[tap] = 1;
      x[input] = 1;
      Count count;
      const auto y = outputs(x, g, count);
      for (size_t o = 0; o < 2; ++o) {
        EXPECT_EQ(y[o], input == o + tap ? 1 : 0)
            << "y" << o << " for x" << input << " = 1 and g" << tap << " = 1, all others 0 (they meet if "
            << "input = output + tap)";
      }
    }
  }
}

TEST(Conv3dWinogradPair, FourMultiplications) {
  Count count;
  const auto y = outputs({1, -2, 3, 5}, {7, 2, -4}, count);
  EXPECT_EQ(y[0], 7 * 1 + 2 * -2 + -4 * 3);
  EXPECT_EQ(y[1], 7 * -2 + 2 * 3 + -4 * 5);
  EXPECT_LE(count.multiplications, 4) << "multiplications: one for each point of the page's B^T, G and A^T";
  EXPECT_LE(count.additions, 8) << "additions: four for B^T x, four for A^T";
}

}  // namespace
}  // namespace exercise::conv3d
