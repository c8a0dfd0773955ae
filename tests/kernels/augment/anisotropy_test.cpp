#include "kernels/augment/anisotropy.h"

#include "support/augment_test.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using AnisotropyTest = DeviceTest;
VG_ON_EVERY_DEVICE(AnisotropyTest);

// Two resamplings one after the other, in millimetres: the fine voxels are 1 mm wide and begin at 0 mm.
std::vector<double> resampled_line(const std::vector<double>& fine, double factor) {
  const double extent = static_cast<double>(fine.size());
  std::vector<double> coarse;
  while (static_cast<double>(coarse.size()) * factor < extent) {
    const double centre = (static_cast<double>(coarse.size()) + 0.5) * factor;
    // The voxel that contains the centre; on the face between two, the upper one.
    coarse.push_back(centre < extent ? fine[static_cast<size_t>(std::floor(centre))] : 0);
  }
  std::vector<double> result;
  for (size_t i = 0; i < fine.size(); ++i) {
    const double centre = static_cast<double>(i) + 0.5;
    const auto place_of = [&](size_t c) { return (static_cast<double>(c) + 0.5) * factor; };
    size_t upper = 0;
    while (upper < coarse.size() && place_of(upper) < centre) ++upper;
    if (upper == 0) {
      result.push_back(coarse.front());
    } else if (upper == coarse.size()) {
      result.push_back(coarse.back());
    } else {
      const double share = (centre - place_of(upper - 1)) / factor;
      result.push_back(coarse[upper - 1] + share * (coarse[upper] - coarse[upper - 1]));
    }
  }
  return result;
}

std::vector<double> resampled(const std::vector<float>& x, const Extents3& extent,
                              const AnisotropyParams& p) {
  const auto axis = static_cast<size_t>(p.axis);
  const int64_t step = axis == 0 ? extent[1] * extent[2] : axis == 1 ? extent[2] : 1;
  std::vector<double> y(x.size());
  for_each_place(extent, [&](size_t first, const Extents3& place) {
    if (place[axis] != 0) return;
    std::vector<double> line;
    for (int64_t i = 0; i < extent[axis]; ++i)
      line.push_back(static_cast<double>(x[first + static_cast<size_t>(i * step)]));
    line = resampled_line(line, static_cast<double>(p.downsampling));
    for (int64_t i = 0; i < extent[axis]; ++i)
      y[first + static_cast<size_t>(i * step)] = line[static_cast<size_t>(i)];
  });
  return y;
}

TEST_P(AnisotropyTest, IsTwoResamplings) {
  for (const Extents3& extent : {Extents3{5, 7, 17}, {9, 2, 33}, {1, 1, 1}}) {
    const auto x = uniform(count_of(extent), 1);
    for (const int axis : {0, 1, 2}) {
      for (const float factor : {1.0f, 1.5f, 2.0f, 2.3f, 3.0f, 4.75f, 5.0f}) {
        const AnisotropyParams p{axis, factor};
        expect_transformed(device(), exec(), 1, extent, x, resampled(x, extent, p), 1e-6,
                           [&](auto y, auto in, const Exec& on) { anisotropy(y, in, p, on); });
      }
    }
  }
}

TEST_P(AnisotropyTest, EachVolumeForItself) {
  const Extents3 extent{6, 5, 4};
  const auto x = uniform(2 * count_of(extent), 2);
  const AnisotropyParams p{0, 2.5f};
  const auto expected =
      joined(resampled(volume_of(x, extent, 0), extent, p), resampled(volume_of(x, extent, 1), extent, p));
  expect_transformed(device(), exec(), 2, extent, x, expected, 1e-6,
                     [&](auto y, auto in, const Exec& on) { anisotropy(y, in, p, on); });
}

TEST(AnisotropyThreads, SameBitsForAnyNumberOfThreads) {
  expect_transform_thread_independent([](auto y, auto x, const Exec& on) {
    anisotropy(y, x, {1, 2.5f}, on);
  });
}

TEST_P(AnisotropyTest, WrongArgumentsAreErrors) {
  Activation<float> x(device(), 1, 2, 3, 4, 1), y(device(), 1, 2, 3, 4, 1);
  EXPECT_EQ(message_of([&] {
              anisotropy(y, x, {1, 0.5f}, exec());
            }),
            "anisotropy: the downsampling is 0.5, expected at least 1");
  EXPECT_EQ(message_of([&] {
              anisotropy(y, x, {-1, 2}, exec());
            }),
            "anisotropy: the axis is -1, expected 0, 1 or 2");
}

}  // namespace
}  // namespace vg::test
