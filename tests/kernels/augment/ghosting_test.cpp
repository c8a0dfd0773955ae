#include "kernels/augment/ghosting.h"

#include "support/augment_test.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using GhostingTest = DeviceTest;
VG_ON_EVERY_DEVICE(GhostingTest);

// Planes of the centred spectrum times 1 - intensity, the restored ones taken from the spectrum as it was.
std::vector<double> with_ghosts(const std::vector<float>& x, const Extents3& extent,
                                const GhostingParams& p) {
  const Complexes before = spectrum_of(x, extent);
  Complexes after = before;
  const auto axis = static_cast<size_t>(p.axis);
  const int64_t middle = extent[axis] / 2;
  for_each_place(extent, [&](size_t i, const Extents3& k) {
    if (k[axis] % p.num_ghosts == 0) after[i] *= 1 - static_cast<double>(p.intensity);
    bool restored = k[axis] == middle;
    if (p.restore) {
      const double planes =
          std::nearbyint(static_cast<double>(*p.restore) * static_cast<double>(extent[axis]));
      const int64_t half = static_cast<int64_t>(planes) / 2;
      restored = k[axis] >= middle - half && k[axis] < middle + half;
    }
    if (restored) after[i] = before[i];
  });
  return real_volume_of(after, extent);
}

TEST_P(GhostingTest, IsAMaskOfTheSpectrum) {
  const Extents3 extent{5, 6, 7};
  const auto x = uniform(count_of(extent), 1);
  for (const int axis : {0, 1, 2}) {
    for (const GhostingParams& p : {GhostingParams{2, axis, 0.5f, {}}, GhostingParams{3, axis, 1, {}},
                                    GhostingParams{1, axis, 0.75f, 0.5f}, GhostingParams{2, axis, 0.5f, 1},
                                    GhostingParams{2, axis, -1, 0}, GhostingParams{40, axis, 0.5f, {}}}) {
      const auto expected = with_ghosts(x, extent, p);
      expect_transformed(device(), exec(), 1, extent, x, expected, 2e-6,
                         [&](auto y, auto in, const Exec& on) { ghosting(y, in, p, on); });
    }
  }
}

TEST_P(GhostingTest, EachVolumeForItself) {
  const Extents3 extent{3, 8, 5};
  const auto x = uniform(2 * count_of(extent), 2);
  const GhostingParams p{3, 1, 0.5f, 0.3f};
  const auto expected = joined(with_ghosts(volume_of(x, extent, 0), extent, p),
                               with_ghosts(volume_of(x, extent, 1), extent, p));
  expect_transformed(device(), exec(), 2, extent, x, expected, 2e-6,
                     [&](auto y, auto in, const Exec& on) { ghosting(y, in, p, on); });
}

TEST_P(GhostingTest, NoGhostsOrNoIntensityCopies) {
  const Extents3 extent{2, 3, 5};
  const auto x = uniform(count_of(extent), 3);
  for (const GhostingParams& p : {GhostingParams{0, 0, 1, {}}, GhostingParams{4, 0, 0, {}}}) {
    expect_transformed(device(), exec(), 1, extent, x, {x.begin(), x.end()}, 0,
                       [&](auto y, auto in, const Exec& on) { ghosting(y, in, p, on); });
  }
}

TEST(GhostingThreads, SameBitsForAnyNumberOfThreads) {
  for (const int axis : {0, 1, 2})
    expect_transform_thread_independent([&](auto y, auto x, const Exec& on) {
      ghosting(y, x, {4, axis, 0.5f, {}}, on);
    });
}

TEST_P(GhostingTest, WrongArgumentsAreErrors) {
  Activation<float> x(device(), 1, 2, 3, 4, 1), y(device(), 1, 2, 3, 4, 1);
  const auto message = [&](const GhostingParams& p) {
    return message_of([&] { ghosting(y, x, p, exec()); });
  };
  EXPECT_EQ(message({4, 3, 1, {}}), "ghosting: the axis is 3, expected 0, 1 or 2");
  EXPECT_EQ(message({-1, 0, 1, {}}), "ghosting: the number of ghosts is -1, expected at least 0");
  EXPECT_EQ(message({4, 0, 1, 1.5f}), "ghosting: the restored share is 1.5, expected 0 to 1");
}

}  // namespace
}  // namespace vg::test
