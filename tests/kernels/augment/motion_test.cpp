#include "kernels/augment/motion.h"

#include <complex>
#include <numbers>

#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"
#include "support/warp_oracle.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using MotionTest = DeviceTest;
VG_ON_EVERY_DEVICE(MotionTest);

using Spectrum = std::vector<std::complex<double>>;

/// Discrete Fourier transform of one volume along all axes; sign -1 forward, 1 backward with its factor.
Spectrum transform(Spectrum values, const VolumeShape& s, int sign) {
  int64_t stride = 1;
  for (size_t axis = 3; axis-- > 0;) {
    const int64_t extent = s.extents()[axis];
    Spectrum result(values.size());
    for (int64_t i = 0; i < s.voxels(); ++i) {
      const int64_t k = i / stride % extent, first = i - k * stride;
      for (int64_t j = 0; j < extent; ++j) {
        const double turn = static_cast<double>(j * k % extent) / static_cast<double>(extent);
        result[static_cast<size_t>(i)] += values[static_cast<size_t>(first + j * stride)] *
                                          std::polar(sign > 0 ? 1.0 / static_cast<double>(extent) : 1.0,
                                                     sign * 2 * std::numbers::pi * turn);
      }
    }
    values = std::move(result);
    stride *= extent;
  }
  return values;
}

/// The volume n of x as it is after a movement.
Spectrum moved_volume(const std::vector<float>& x, const VolumeShape& s, int64_t n,
                      const PlaceMatrix& movement) {
  Spectrum values(static_cast<size_t>(s.voxels()));
  const double outside = minimum_of(x, s, n);
  for_each_place({1, s.d, s.h, s.w}, movement, no_displacement, [&](size_t i, const Place& place, int64_t) {
    values[i] = inside_volume(s, place) ? trilinear(x, s, n, place) : outside;
  });
  return values;
}

/// TorchIO 0.20.4's Motion.add_artifact, step by step.
std::vector<double> motion_oracle(const std::vector<float>& x, const VolumeShape& s,
                                  const MotionParams& params) {
  const PlaceMatrix identity{{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}};
  std::vector<double> y;
  for (int64_t n = 0; n < s.n; ++n) {
    std::vector<Spectrum> spectra{transform(moved_volume(x, s, n, identity), s, -1)};
    for (const PlaceMatrix& movement : params.movements)
      spectra.push_back(transform(moved_volume(x, s, n, movement), s, -1));
    size_t index = spectra.size() - 1;
    for (size_t i = params.times.size(); i-- > 0;) {
      if (params.times[i] > 0.5f) index = i;
    }
    std::swap(spectra[0], spectra[index]);
    Spectrum result(static_cast<size_t>(s.voxels()));
    for (int64_t i = 0; i < s.voxels(); ++i) {
      const int64_t centred = (i % s.w + s.w / 2) % s.w;  // where this frequency lies after fftshift
      size_t band = 0;
      while (band < params.times.size() &&
             centred >= static_cast<int64_t>(static_cast<float>(s.w) * params.times[band]))
        ++band;
      result[static_cast<size_t>(i)] = spectra[band][static_cast<size_t>(i)];
    }
    for (const std::complex<double>& v : transform(result, s, 1)) y.push_back(v.real());
  }
  return y;
}

/// Movements whose places keep clear of where rounding decides what is inside.
std::vector<PlaceMatrix> make_movements(const VolumeShape& s, size_t count, uint32_t seed) {
  std::vector<PlaceMatrix> movements;
  for (; movements.size() < count; ++seed) {
    const auto r = uniform(6, seed);
    const PlaceMatrix matrix =
        turned(s, {0.2 * double{r[0]}, 0.2 * double{r[1]}, 0.2 * double{r[2]}}, 1, {r[3], r[4], r[5]});
    double distance = INFINITY;
    for_each_place({1, s.d, s.h, s.w}, matrix, no_displacement, [&](size_t, const Place& place, int64_t) {
      distance = std::min(distance, distance_to_buffer_faces(s, place));
    });
    if (distance > 1e-4) movements.push_back(matrix);
  }
  return movements;
}

std::vector<float> moved(const std::vector<float>& x, const VolumeShape& s, const MotionParams& params,
                         const Placement& p, const Exec& exec) {
  const Activation<float> source(exec.device, s.n, s.d, s.h, s.w, 1, x, p);
  const Activation<float> y(exec.device, s.n, s.d, s.h, s.w, 1, p);
  motion(y, source, params, exec);
  return y.get();
}

const std::vector<float> time_lists[] = {
    {0.33f, 0.68f},      // rest in the middle
    {0.6f},              // rest first
    {0.3f},              // rest last
    {0.1f, 0.2f, 0.4f},  // none above one half
    {0.2f, 0.5f, 0.55f, 0.9f},
    {0.4f, 0.4f, 0.8f},  // an empty band
    {0.7f, 0.71f},       // rest first, a band that may be empty
    {0.001f, 0.999f},
};

TEST_P(MotionTest, IsTorchIosMotion) {
  const VolumeShape shapes[] = {{1, 1, 1, 1},  {2, 3, 4, 8},   {5, 2, 3, 17}, {1, 6, 5, 2},
                                {4, 9, 2, 20}, {1, 2, 1, 270}, {1, 2, 35, 9}};
  for (const VolumeShape& s : shapes) {
    uint32_t seed = 1;
    for (const auto& times : time_lists) {
      const auto x = uniform(s.count(), seed, -1, 2);
      const MotionParams params{times, make_movements(s, times.size(), seed * 100)};
      ++seed;
      const auto expected = motion_oracle(x, s, params);
      const double tolerance = s.w > 256 ? 5e-4 : 5e-5;  // places are rounded to float
      for_each_instruction_set(device(), [&] {
        for (const Placement& p : {Placement{}, Placement{1, 0, 0}})
          EXPECT_TRUE(all_close(moved(x, s, params, p, exec()), expected, tolerance))
              << s.w << " wide, first time " << times[0];
      });
    }
  }
}

TEST_P(MotionTest, NoMovementChangesNothing) {
  const VolumeShape s{2, 3, 4, 9};
  const auto x = uniform(s.count(), 2);
  EXPECT_EQ(moved(x, s, {}, {}, exec()), x);
  const PlaceMatrix identity{{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}};
  EXPECT_EQ(moved(x, s, {{0.3f, 0.7f}, {identity, identity}}, {}, exec()), x);
}

TEST_P(MotionTest, BadArgumentsAreErrors) {
  const Activation<float> y(device(), 1, 2, 2, 4, 1), x(device(), 1, 2, 2, 5, 1);
  const PlaceMatrix m{};
  EXPECT_THROW(motion(y, x, {}, exec()), std::invalid_argument);
  EXPECT_THROW(motion(y, y, {{0.5f}, {}}, exec()), std::invalid_argument);
  EXPECT_THROW(motion(y, y, {{0.0f}, {m}}, exec()), std::invalid_argument);
  EXPECT_THROW(motion(y, y, {{1.0f}, {m}}, exec()), std::invalid_argument);
  EXPECT_THROW(motion(y, y, {{NAN}, {m}}, exec()), std::invalid_argument);
  EXPECT_THROW(motion(y, y, {{0.6f, 0.3f}, {m, m}}, exec()), std::invalid_argument);
}

TEST(MotionThreadsTest, SameBitsForAnyNumberOfThreads) {
  const VolumeShape s{2, 10, 21, 24};
  const Activation<float> x(DeviceKind::cpu, s.n, s.d, s.h, s.w, 1, uniform(s.count(), 3));
  const MotionParams params{{0.3f, 0.7f}, make_movements(s, 2, 5)};
  Workspace workspace(DeviceKind::cpu);
  expect_thread_independent([&] {
    const Activation<float> y(DeviceKind::cpu, s.n, s.d, s.h, s.w, 1);
    motion(y, x, params, {DeviceKind::cpu, nullptr, &workspace});
    return y.get();
  });
}

}  // namespace
}  // namespace vg::test
