#include "kernels/augment/warp.h"

#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"
#include "support/warp_oracle.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using WarpTest = DeviceTest;
VG_ON_EVERY_DEVICE(WarpTest);

const VolumeShape shapes[] = {{1, 1, 1, 1},  {1, 2, 3, 1},   {4, 3, 2, 17}, {5, 5, 7, 16},
                              {1, 3, 1, 33}, {3, 1, 2, 270}, {1, 6, 9, 35}};
const Placement volume_placements[] = {{}, {1, 0, 0}};
// Places are rounded to float: up to 3 roundings of numbers below 300, and slopes of at most 2 a voxel.
constexpr double place_tolerance = 3e-4;

PlaceMatrix shifted(double d, double h, double w) {
  return {{{1, 0, 0, d}, {0, 1, 0, h}, {0, 0, 1, w}}};
}

Place displacement_of(const WarpParams& params, int64_t d, int64_t h, int64_t w) {
  if (!params.spline) return {};
  return spline_displacement(*params.spline,
                             {static_cast<double>(d), static_cast<double>(h), static_cast<double>(w)});
}

std::vector<float> warped(const VolumeShape& s, const std::vector<float>& x, const WarpParams& params,
                          const Placement& p, const Exec& exec) {
  const Activation<float> source(exec.device, s.n, s.d, s.h, s.w, 1, x, p);
  const Activation<float> y(exec.device, s.n, s.d, s.h, s.w, 1, p);
  warp(y, source, params, exec);
  return y.get();
}

/// With a tolerance, voxels whose places rounding may put in or out are left out.
void expect_trilinear(const VolumeShape& s, const std::vector<float>& x, const WarpParams& params,
                      const Placement& p, const Exec& exec, double tolerance) {
  std::vector<float> y = warped(s, x, params, p, exec);
  std::vector<double> expected(x.size());
  for_each_place(
      s, params.matrix, [&](int64_t d, int64_t h, int64_t w) { return displacement_of(params, d, h, w); },
      [&](size_t i, const Place& place, int64_t n) {
        const double outside = params.fill ? double{*params.fill} : minimum_of(x, s, n);
        expected[i] = inside_volume(s, place) ? trilinear(x, s, n, place) : outside;
        if (tolerance > 0 && distance_to_buffer_faces(s, place) < 1e-4)
          expected[i] = static_cast<double>(y[i]);
      });
  EXPECT_TRUE(all_close(y, expected, tolerance)) << s.n << ' ' << s.d << ' ' << s.h << ' ' << s.w;
}

SplineDisplacement make_spline(const VolumeShape& s, const std::array<int64_t, 3>& points, float size) {
  SplineDisplacement spline;
  spline.points = points;
  spline.displacement = uniform(points[0] * points[1] * points[2] * 3, 9, -size, size);
  for (size_t a = 0; a < 3; ++a) {
    const auto cells = static_cast<double>(points[a] - 3), extent = static_cast<double>(s.extents()[a]);
    spline.first[a] = 1 + 0.3 * cells / extent;
    spline.step[a] = cells / extent;
  }
  return spline;
}

TEST_P(WarpTest, WholeVoxelShiftsAreExact) {
  for_each_instruction_set(device(), [&] {
    for (const VolumeShape& s : shapes) {
      for (const Placement& p : volume_placements) {
        for (const std::optional<float> fill : {std::optional<float>(), std::optional<float>(-7.5f)}) {
          const auto x = uniform(s.count(), 1);
          expect_trilinear(s, x, {shifted(0, 0, 0), {}, fill}, p, exec(), 0);
          expect_trilinear(s, x, {shifted(1, -2, 3), {}, fill}, p, exec(), 0);
          expect_trilinear(s, x, {shifted(-1, 1, -18), {}, fill}, p, exec(), 0);
        }
      }
    }
  });
}

TEST_P(WarpTest, AxesCanBeExchanged) {
  const VolumeShape s{4, 5, 5, 5};
  const WarpParams params{{{{0, 0, 1, 0}, {-1, 0, 0, 4}, {0, 1, 0, 0}}}, {}, {}};
  for_each_instruction_set(device(),
                           [&] { expect_trilinear(s, uniform(s.count(), 2), params, {}, exec(), 0); });
}

// A place within half a voxel of the outermost centre is the edge; farther out is the fill, and so is the
// upper limit itself.
TEST_P(WarpTest, EdgesReachHalfAVoxel) {
  const VolumeShape s{2, 4, 3, 6};
  const auto x = integers(s.count(), 3, 100);
  for_each_instruction_set(device(), [&] {
    for (const double shift : {-0.5, 0.5, 0.25, -0.25, -0.75, 0.75, -0.5000001, 0.4999999}) {
      for (const PlaceMatrix& matrix : {shifted(shift, 0, 0), shifted(0, shift, 0), shifted(0, 0, shift)})
        expect_trilinear(s, x, {matrix, {}, -1000.0f}, {}, exec(),
                         shift == 0.4999999 || shift == -0.5000001 ? 1e-4 : 0);
    }
  });
  const auto shifted_row = [&](double shift) {
    return warped({1, 1, 1, 3}, {1, 2, 4}, {shifted(0, 0, shift), {}, -9.0f}, {}, exec());
  };
  EXPECT_EQ(shifted_row(-0.5), (std::vector<float>{1, 1.5f, 3}));
  EXPECT_EQ(shifted_row(0.5), (std::vector<float>{1.5f, 3, -9}));
  EXPECT_EQ(shifted_row(0.25), (std::vector<float>{1.25f, 2.5f, 4}));
}

TEST_P(WarpTest, TurnsAndScalings) {
  for_each_instruction_set(device(), [&] {
    for (const VolumeShape& s : shapes) {
      for (const Placement& p : volume_placements) {
        const auto x = uniform(s.count(), 4);
        expect_trilinear(s, x, {turned(s, {0.1, -0.2, 0.15}, 1.1, {0.3, -0.6, 0.2}), {}, {}}, p, exec(),
                         place_tolerance);
        expect_trilinear(s, x, {turned(s, {2.5, 0.4, -1.2}, 0.7, {0.1, 0.2, -0.3}), {}, 3.0f}, p, exec(),
                         place_tolerance);
      }
    }
  });
}

TEST_P(WarpTest, SplineDisplacement) {
  for_each_instruction_set(device(), [&] {
    for (const VolumeShape& s : shapes) {
      const auto x = uniform(s.count(), 5);
      for (const auto& points : {std::array<int64_t, 3>{4, 5, 7}, std::array<int64_t, 3>{6, 4, 19}}) {
        WarpParams params{turned(s, {0.05, 0, 0.1}, 1, {0.1, 0, 0.2}), make_spline(s, points, 2), {}};
        expect_trilinear(s, x, params, {1, 0, 0}, exec(), place_tolerance);
        for (size_t a = 0; a < 3; ++a) {  // the grid backwards, and voxels beyond it on both sides
          params.spline->first[a] = static_cast<double>(points[a]) - 1.7;
          params.spline->step[a] *= -1.1;
        }
        expect_trilinear(s, x, params, {}, exec(), place_tolerance);
      }
    }
  });
}

// As ITK's BSplineTransform: places 1 and points - 2 are the last ones with a displacement.
TEST_P(WarpTest, SplineEndsWhereItsControlPointsEnd) {
  WarpParams params;
  params.spline.emplace();
  SplineDisplacement& spline = *params.spline;
  spline.points = {4, 4, 5};
  spline.displacement.assign(4 * 4 * 5 * 3, 0);
  for (size_t i = 2; i < spline.displacement.size(); i += 3) spline.displacement[i] = 1;
  spline.first = {1, 2, 0.5};
  spline.step = {0, 0, 0.5};
  const auto run = [&] { return warped({1, 1, 1, 8}, {0, 1, 2, 3, 4, 5, 6, 7}, params, {}, exec()); };
  for_each_instruction_set(device(), [&] {
    EXPECT_TRUE(all_close(run(), std::vector<float>{0, 2, 3, 4, 5, 6, 6, 7}, 1e-5));
  });
  spline.first[0] = 0.999;
  EXPECT_EQ(run(), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}));
  spline.first = {1, 2.001, 0.5};
  EXPECT_EQ(run(), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST_P(WarpTest, LabelsTakeTheNearest) {
  for_each_instruction_set(device(), [&] {
    for (const VolumeShape& s : shapes) {
      for (const Placement& p : volume_placements) {
        const auto x = labels(s.count(), 6, 200);
        for (int spline = 0; spline < 2; ++spline) {
          WarpParams params{turned(s, {0.1, -0.2, 0.15}, 1.1, {0.3, -0.6, 0.2}), {}, {}};
          if (spline == 1) params.spline = make_spline(s, {4, 5, 7}, 2);
          if (spline == 1) params.fill = 255.0f;
          const Activation<uint8_t> source(device(), s.n, s.d, s.h, s.w, 1, x, p),
              y(device(), s.n, s.d, s.h, s.w, 1, p);
          warp(y, source, params, exec());
          const auto actual = y.get();
          for_each_place(
              s, params.matrix,
              [&](int64_t d, int64_t h, int64_t w) { return displacement_of(params, d, h, w); },
              [&](size_t i, const Place& place, int64_t n) {
                for (const double c : place) {
                  if (std::abs(c - std::floor(c) - 0.5) < 1e-4) return;  // rounding decides
                }
                const auto outside = static_cast<uint8_t>(params.fill.value_or(0));
                EXPECT_EQ(actual[i], inside_volume(s, place) ? nearest(x, s, n, place) : outside) << i;
              });
        }
      }
    }
  });
}

TEST_P(WarpTest, HalvesRoundUpForLabels) {
  const std::vector<uint8_t> x{1, 2, 3, 4, 5};
  const auto run = [&](double shift) {
    const Activation<uint8_t> source(device(), 1, 1, 1, 5, 1, x), y(device(), 1, 1, 1, 5, 1);
    warp(y, source, {shifted(0, 0, shift), {}, {}}, exec());
    return y.get();
  };
  for_each_instruction_set(device(), [&] {
    EXPECT_EQ(run(0), x);
    EXPECT_EQ(run(0.5), (std::vector<uint8_t>{2, 3, 4, 5, 0}));
    EXPECT_EQ(run(-0.5), x);
    EXPECT_EQ(run(-0.75), (std::vector<uint8_t>{0, 1, 2, 3, 4}));
    EXPECT_EQ(run(0.49), x);
  });
}

TEST_P(WarpTest, PlacesThatAreNoNumbersAreOutside) {
  const VolumeShape s{1, 2, 2, 5};
  for (const double wrong : {std::nan(""), static_cast<double>(INFINITY), -1e30}) {
    const WarpParams params{shifted(0, wrong, 0), {}, 7.0f};
    EXPECT_EQ(warped(s, uniform(s.count(), 7), params, {}, exec()), std::vector<float>(20, 7));
    const Activation<uint8_t> x(device(), 1, 2, 2, 5, 1, labels(20, 8, 4)), y(device(), 1, 2, 2, 5, 1);
    warp(y, x, params, exec());
    EXPECT_EQ(y.get(), std::vector<uint8_t>(20, 7));
  }
}

TEST_P(WarpTest, BadArgumentsAreErrors) {
  const Activation<float> y(device(), 1, 2, 2, 4, 1), x(device(), 1, 2, 2, 5, 1);
  EXPECT_THROW(warp(y, x, {}, exec()), std::invalid_argument);
  WarpParams params;
  params.spline.emplace();
  params.spline->points = {4, 3, 4};
  params.spline->displacement.resize(4 * 3 * 4 * 3);
  EXPECT_THROW(warp(y, y, params, exec()), std::invalid_argument);
  params.spline->points = {4, 4, 4};
  EXPECT_THROW(warp(y, y, params, exec()), std::invalid_argument);
  const Activation<uint8_t> l(device(), 1, 1, 1, 4, 1);
  for (const float fill : {-1.0f, 256.0f, 0.5f, NAN})
    EXPECT_THROW(warp(l, l, {shifted(0, 0, 0), {}, fill}, exec()), std::invalid_argument);
}

TEST(WarpThreadsTest, SameBitsForAnyNumberOfThreads) {
  const VolumeShape s{5, 9, 21, 40};
  const Activation<float> x(DeviceKind::cpu, s.n, s.d, s.h, s.w, 1, uniform(s.count(), 3));
  const Activation<uint8_t> l(DeviceKind::cpu, s.n, s.d, s.h, s.w, 1, labels(s.count(), 3, 7));
  const WarpParams params{turned(s, {0.1, -0.2, 0.15}, 1.1, {}), make_spline(s, {5, 6, 7}, 2), {}};
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  expect_thread_independent([&] {
    const Activation<float> y(DeviceKind::cpu, s.n, s.d, s.h, s.w, 1);
    warp(y, x, params, exec);
    return y.get();
  });
  expect_thread_independent([&] {
    const Activation<uint8_t> y(DeviceKind::cpu, s.n, s.d, s.h, s.w, 1);
    warp(y, l, params, exec);
    return y.get();
  });
}

}  // namespace
}  // namespace vg::test
