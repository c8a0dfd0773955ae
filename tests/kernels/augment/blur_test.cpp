#include "kernels/augment/blur.h"

#include "support/augment_test.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using BlurTest = DeviceTest;
VG_ON_EVERY_DEVICE(BlurTest);

// The voxel at a place beyond the faces, step by step back into the volume.
int64_t mirrored(int64_t place, int64_t length) {
  while (place < 0 || place >= length) place = place < 0 ? -1 - place : 2 * length - 1 - place;
  return place;
}

double weight(int64_t distance, double deviation) {
  if (deviation == 0) return distance == 0 ? 1 : 0;
  return std::exp(-static_cast<double>(distance * distance) / (2 * deviation * deviation));
}

// All three axes at once: a sum over the whole kernel, which is a product of three.
std::vector<double> blurred(const std::vector<float>& x, const Extents3& s, const BlurParams& p) {
  double deviation[3];
  int64_t radius[3];
  for (size_t axis = 0; axis < 3; ++axis) {
    deviation[axis] = static_cast<double>(p.deviation[axis]);
    radius[axis] = static_cast<int64_t>(std::floor(4 * deviation[axis] + 0.5));
  }
  std::vector<double> y(x.size());
  for_each_place(s, [&](size_t i, const Extents3& place) {
    double weights = 0;
    for (int64_t d = -radius[0]; d <= radius[0]; ++d) {
      for (int64_t h = -radius[1]; h <= radius[1]; ++h) {
        for (int64_t w = -radius[2]; w <= radius[2]; ++w) {
          const double product = weight(d, deviation[0]) * weight(h, deviation[1]) * weight(w, deviation[2]);
          const int64_t from = (mirrored(place[0] + d, s[0]) * s[1] + mirrored(place[1] + h, s[1])) * s[2] +
                               mirrored(place[2] + w, s[2]);
          weights += product, y[i] += product * static_cast<double>(x[static_cast<size_t>(from)]);
        }
      }
    }
    y[i] /= weights;
  });
  return y;
}

TEST_P(BlurTest, IsAGaussianWithMirroredFaces) {
  const BlurParams deviations[] = {{{0.7f, 1, 0.5f}}, {{2, 0, 0}},        {{0, 1.3f, 0}}, {{0, 0, 0.6f}},
                                   {{0, 0.5f, 1.2f}}, {{0.1f, 0, 0.05f}}, {{0, 0, 0}}};
  for (const Extents3& extent : {Extents3{5, 3, 7}, {2, 1, 17}, {1, 1, 1}}) {
    const auto x = uniform(count_of(extent), 1);
    for (const BlurParams& p : deviations) {
      expect_transformed(device(), exec(), 1, extent, x, blurred(x, extent, p), 1e-6,
                         [&](auto y, auto in, const Exec& on) { blur(y, in, p, on); });
    }
  }
}

TEST_P(BlurTest, EachVolumeForItself) {
  const Extents3 extent{3, 4, 5};
  const auto x = uniform(2 * count_of(extent), 2);
  const BlurParams p{{1, 1, 1}};
  const auto expected =
      joined(blurred(volume_of(x, extent, 0), extent, p), blurred(volume_of(x, extent, 1), extent, p));
  expect_transformed(device(), exec(), 2, extent, x, expected, 1e-6,
                     [&](auto y, auto in, const Exec& on) { blur(y, in, p, on); });
}

TEST(BlurThreads, SameBitsForAnyNumberOfThreads) {
  expect_transform_thread_independent([](auto y, auto x, const Exec& on) { blur(y, x, {{1, 2, 0.5f}}, on); });
}

TEST_P(BlurTest, WrongArgumentsAreErrors) {
  Activation<float> x(device(), 1, 2, 3, 4, 1), y(device(), 1, 2, 3, 4, 1);
  EXPECT_EQ(message_of([&] {
              blur(y, x, {{0, -1, 0}}, exec());
            }),
            "blur: the standard deviation along axis 1 is -1, expected at least 0");
  EXPECT_THROW(blur(y, x, {{0, 0, NAN}}, exec()), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
