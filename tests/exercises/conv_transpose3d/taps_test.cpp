#include <conv_transpose3d/taps.h>
#include <gtest/gtest.h>

#include "exercises/support/volume.h"
#include "support/random_data.h"

namespace exercise::conv_transpose3d {
namespace {

TEST(ConvTranspose3dTaps, GatherIsScatterTurnedRound) {
  for (int inputs = 1; inputs <= 5; ++inputs) {
    std::vector<std::vector<Tap>> expected(static_cast<size_t>(2 * inputs));
    for (int z = 0; z < inputs; ++z) {
      for (int k = 0; k < 3; ++k) {
        const int u = 2 * z - 1 + k;
        if (u >= 0 && u < 2 * inputs) expected[static_cast<size_t>(u)].push_back({z, k});
      }
    }
    for (int u = 0; u < 2 * inputs; ++u) {
      const auto taps = taps_of(u, inputs);
      const auto& wanted = expected[static_cast<size_t>(u)];
      ASSERT_EQ(taps.size(), wanted.size())
          << "number of taps of output " << u << " of " << inputs << " inputs";
      for (size_t i = 0; i < taps.size(); ++i) {
        EXPECT_EQ(taps[i].input, wanted[i].input) << "input " << i << " of output " << u;
        EXPECT_EQ(taps[i].tap, wanted[i].tap)
            << "tap " << i << " of output " << u << ": solve u = 2 z - 1 + k";
      }
    }
  }
}

TEST(ConvTranspose3dTaps, ThreeAxesTogether) {
  Volume x(2, 3, 4, 1), scattered(4, 6, 8, 1), gathered(4, 6, 8, 1);
  x.values = vg::test::integers(static_cast<int64_t>(x.values.size()), 1);
  const auto w = vg::test::integers(27, 2);
  x.for_each_voxel([&](int d, int h, int v) {
    for (int k = 0; k < 27; ++k) {
      const int ud = 2 * d - 1 + k / 9, uh = 2 * h - 1 + k / 3 % 3, uw = 2 * v - 1 + k % 3;
      if (scattered.inside(ud, uh, uw))
        scattered.at(scattered.voxel(ud, uh, uw), 0) += w[static_cast<size_t>(k)] * x.at(x.voxel(d, h, v), 0);
    }
  });
  int products = 0;
  gathered.for_each_voxel([&](int d, int h, int v) {
    for (const Tap& td : taps_of(d, 2)) {
      for (const Tap& th : taps_of(h, 3)) {
        for (const Tap& tw : taps_of(v, 4)) {
          gathered.at(gathered.voxel(d, h, v), 0) +=
              w[static_cast<size_t>((td.tap * 3 + th.tap) * 3 + tw.tap)] *
              x.at(x.voxel(td.input, th.input, tw.input), 0);
          ++products;
        }
      }
    }
  });
  EXPECT_EQ(gathered.values, scattered.values);
  EXPECT_EQ(products, (2 * 3 - 1) * (3 * 3 - 1) * (4 * 3 - 1))
      << "products in all: 3 an input and axis, but one";
}

}  // namespace
}  // namespace exercise::conv_transpose3d
