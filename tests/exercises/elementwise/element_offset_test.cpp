#include <elementwise/element_offset.h>
#include <gtest/gtest.h>

#include <vector>

namespace exercise::elementwise {
namespace {

/// By walking over the whole buffer: the elements of the view are met in its dense order.
std::vector<int64_t> offsets(const Extents& e, const Placement& p) {
  std::vector<int64_t> result;
  int64_t offset = 0;
  const auto inside = [&](int64_t position, int64_t extent) {
    return position >= p.halo && position < p.halo + extent;
  };
  for (int64_t n = 0; n < e.n; ++n) {
    for (int64_t d = 0; d < e.d + 2 * p.halo; ++d) {
      for (int64_t h = 0; h < e.h + 2 * p.halo; ++h) {
        for (int64_t w = 0; w < e.w + 2 * p.halo; ++w) {
          for (int64_t c = 0; c < p.buffer_channels; ++c, ++offset) {
            const bool in_slice = c >= p.first_channel && c < p.first_channel + e.c;
            if (in_slice && inside(d, e.d) && inside(h, e.h) && inside(w, e.w)) result.push_back(offset);
          }
        }
      }
    }
  }
  return result;
}

TEST(ElementwiseElementOffset, ThePagesExample) {
  const Extents extents{1, 3, 3, 3, 2};
  const Placement placement{1, 5, 3};
  EXPECT_EQ(element_offset(0, extents, placement), 158)
      << "the first element: one plane, row and voxel of halo";
  EXPECT_EQ(element_offset(29, extents, placement), 158 + 161) << "channel 1 of voxel (1, 1, 2)";
}

TEST(ElementwiseElementOffset, EveryElementOfSomePlacements) {
  for (const Placement& p :
       {Placement{0, 3, 0}, Placement{1, 3, 0}, Placement{0, 7, 4}, Placement{1, 8, 3}}) {
    const Extents extents{2, 3, 1, 4, 3};
    const auto expected = offsets(extents, p);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(element_offset(static_cast<int64_t>(i), extents, p), expected[i])
          << "element " << i << " of [2, 3, 1, 4, 3], halo " << p.halo << ", channels " << p.first_channel
          << " to " << p.first_channel + 2 << " of " << p.buffer_channels;
    }
  }
}

}  // namespace
}  // namespace exercise::elementwise
