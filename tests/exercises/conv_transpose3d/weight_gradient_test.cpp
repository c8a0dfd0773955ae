#include <conv_transpose3d/weight_gradient.h>
#include <gtest/gtest.h>

#include "support/random_data.h"

namespace exercise::conv_transpose3d {
namespace {

/// The loss sum of dy y, whose gradient by w is asked for. It is linear in w: its slope along w[j] is its
/// value at w = e_j.
double loss_of_one_weight(size_t j, const std::vector<float>& dy, const std::vector<float>& x, int inputs,
                          int in, int out) {
  double loss = 0;
  for (int z = 0; z < inputs; ++z) {
    for (int k = 0; k < 3; ++k) {
      const int u = 2 * z - 1 + k;
      if (u < 0 || u >= 2 * inputs) continue;
      for (int i = 0; i < in; ++i) {
        for (int o = 0; o < out; ++o) {
          const bool this_weight = static_cast<size_t>((i * out + o) * 3 + k) == j;
          if (this_weight) loss += x[static_cast<size_t>(z * in + i)] * dy[static_cast<size_t>(u * out + o)];
        }
      }
    }
  }
  return loss;
}

void check(int inputs, int in, int out) {
  const auto x = vg::test::integers(inputs * in, 1), dy = vg::test::integers(2 * inputs * out, 2);
  const auto before = vg::test::integers(in * out * 3, 3);
  std::vector<float> dw = before;
  add_weight_gradient(dw, dy, x, inputs, in, out);
  ASSERT_EQ(dw.size(), before.size());
  for (size_t j = 0; j < dw.size(); ++j) {
    const double slope = loss_of_one_weight(j, dy, x, inputs, in, out);
    EXPECT_EQ(dw[j], before[j] + slope)
        << "dw[i][o][k] at " << j << " of " << inputs << " inputs, " << in << " -> " << out
        << " channels; it held " << before[j] << " before, and " << slope << " was to be added";
  }
}

TEST(ConvTranspose3dWeightGradient, OneChannel) {
  check(5, 1, 1);
}
TEST(ConvTranspose3dWeightGradient, OneInput) {
  check(1, 2, 2);
}
TEST(ConvTranspose3dWeightGradient, MoreInThanOut) {
  check(4, 3, 2);
}
TEST(ConvTranspose3dWeightGradient, MoreOutThanIn) {
  check(3, 1, 4);
}

}  // namespace
}  // namespace exercise::conv_transpose3d
