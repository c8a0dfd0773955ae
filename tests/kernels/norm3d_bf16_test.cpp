// bfloat16 activations, and statistics from sums over pieces: on CUDA alone.
#include <cmath>

#include "kernels/norm3d/norm3d.h"
#include "support/bfloat16_cases.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/norm_oracle.h"
#include "support/odd_extents.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using Norm3dBfloat16Test = DeviceTest;
VG_ON_CUDA(Norm3dBfloat16Test);

TEST(Norm3dBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Exec cpu{DeviceKind::cpu, nullptr, &workspace};
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 1, 1, 2, 8);
  const Buffer<float> s(DeviceKind::cpu, 16);
  float* const p = s.data();
  EXPECT_THROW(norm3d_statistics(p, p, x, {}, cpu), std::invalid_argument);
  EXPECT_THROW(norm3d_apply(x, x, p, p, nullptr, nullptr, nullptr, {}, cpu), std::invalid_argument);
  EXPECT_THROW(norm3d_backward(x, nullptr, nullptr, nullptr, x, x, p, p, nullptr, nullptr, nullptr, {}, cpu),
               std::invalid_argument);
  EXPECT_THROW(norm3d_moments_to_statistics(p, p, p, 1, 1, 8, 2, cpu), std::invalid_argument);
}

// Cases in turn: group, affine map, statistics and activation take all combinations within a few channels.
Norm3dParams params_of_turn(size_t turn, int64_t channels) {
  constexpr ActivationKind kinds[] = {ActivationKind::identity, ActivationKind::relu,
                                      ActivationKind::leaky_relu, ActivationKind::prelu,
                                      ActivationKind::prelu};
  return {turn % 2 == 1,
          1e-3f,
          turn / 2 % 3 == 2,
          {kinds[turn % 5], 0.25f, turn % 5 == 4 ? channels : int64_t{1}}};
}

struct Extents {
  int64_t n, d, h, w;
};

void check(DeviceKind device, const Exec& exec, const Extents& e, int64_t c, const Placement& place,
           size_t turn) {
  const Norm3dParams params = params_of_turn(turn, c);
  const bool affine = turn % 3 != 0, prelu = params.activation.kind == ActivationKind::prelu;
  SCOPED_TRACE(testing::Message() << "turn " << turn << ", voxels " << e.d * e.h * e.w << ", channels " << c
                                  << ", halo " << place.halo << ", before " << place.channels_before);
  const NormShape shape{e.n, e.d * e.h * e.w, c};
  const int64_t count = e.n * shape.voxels * c, groups = norm3d_groups(e.n, c, params);
  auto values = uniform(count, 1);
  for (size_t i = 0; i < values.size(); ++i) values[i] += static_cast<float>(i % static_cast<size_t>(c) % 3);
  const auto x = rounded<bfloat16>(values), dy = rounded<bfloat16>(uniform(count, 2)),
             gamma = uniform(c, 3, 0.5f, 1.5f), beta = uniform(c, 4),
             slope = uniform(params.activation.slope_count, 5);
  NormWeights w;
  if (affine) w.gamma = to_doubles(gamma), w.beta = to_doubles(beta);
  if (prelu) w.slope = to_doubles(slope);

  const Activation<bfloat16> vx(device, e.n, e.d, e.h, e.w, c, stored<bfloat16>(x), place),
      g(device, e.n, e.d, e.h, e.w, c, stored<bfloat16>(dy)), y(device, e.n, e.d, e.h, e.w, c, place),
      dx(device, e.n, e.d, e.h, e.w, c);
  const Buffer<float> mean(device, groups), variance(device, groups), a(device, gamma), b(device, beta),
      s(device, slope), da(device, gamma), db(device, gamma), ds(device, slope);
  const float *const pa = affine ? a.data() : nullptr, *const pb = affine ? b.data() : nullptr,
                     *const ps = prelu ? s.data() : nullptr;
  norm3d_statistics(mean.data(), variance.data(), vx, params, exec);
  norm3d_apply(y, vx, mean.data(), variance.data(), pa, pb, ps, params, exec);
  norm3d_backward(dx, affine ? da.data() : nullptr, affine ? db.data() : nullptr, prelu ? ds.data() : nullptr,
                  g, vx, mean.data(), variance.data(), pa, pb, ps, params, exec);

  const NormStatistics t = norm_statistics(to_doubles(x), shape, params);
  EXPECT_TRUE(all_close(mean.get(), t.mean, 1e-6, 1e-6));
  EXPECT_TRUE(all_close(variance.get(), t.variance, 1e-6, 1e-6));
  // Errors in float as in the float version, and one rounding of the result.
  const double magnitude =
      1 / std::sqrt(std::max(1e-3, *std::min_element(t.variance.begin(), t.variance.end())));
  EXPECT_TRUE(all_close(to_floats(y.get()), norm_apply(to_doubles(x), t, w, shape, params), 4e-6 * magnitude,
                        storage_error<bfloat16>));
  const NormGradients r = norm_backward(to_doubles(dy), to_doubles(x), t, w, shape, params);
  EXPECT_TRUE(all_close(to_floats(dx.get()), r.dx, 1e-5 * magnitude * magnitude, storage_error<bfloat16>));
  const auto expect_added = [&](const Buffer<float>& actual, const Doubles& expected,
                                const std::vector<float>& before) {
    Doubles total = to_doubles(before);
    for (size_t i = 0; i < expected.size(); ++i) total[i] += expected[i];
    EXPECT_TRUE(all_close(actual.get(), total, float_tolerance(count, 4 * magnitude)));
  };
  expect_added(da, r.dgamma, gamma);
  expect_added(db, r.dbeta, gamma);
  expect_added(ds, r.dslope, slope);
}

TEST_P(Norm3dBfloat16Test, StatisticsApplyAndBackwardOnEveryPlacement) {
  size_t turn = 0;
  for (const int64_t c : bfloat16_channels) {
    for (const Placement& p : bfloat16_placements(c)) check(device(), exec(), {2, 2, 3, 5}, c, p, turn++);
  }
}

TEST_P(Norm3dBfloat16Test, OddExtents) {
  size_t turn = 0;
  for (const OddExtents& e : odd_extents) {
    check(device(), exec(), {2, e.d, e.h, e.w}, 16, {0, 8, 24}, turn++);
    check(device(), exec(), {1, e.d, e.h, e.w}, 3, {1, 3, 2}, turn++);
  }
}

// Several blocks, and several voxels a thread.
TEST_P(Norm3dBfloat16Test, LargerVolumes) {
  check(device(), exec(), {1, 7, 17, 33}, 16, {}, 3);
  check(device(), exec(), {2, 1, 64, 33}, 8, {}, 4);
  check(device(), exec(), {3, 1, 3, 131}, 24, {0, 8, 24}, 9);
}

TEST_P(Norm3dBfloat16Test, WorksInPlace) {
  const auto x = stored<bfloat16>(uniform(2 * 12 * 8, 1)), dy = stored<bfloat16>(uniform(2 * 12 * 8, 2));
  const Norm3dParams params{true, 1e-5f, false, {ActivationKind::leaky_relu, 0.1f, 1}};
  const Buffer<float> m(device(), 16), v(device(), 16);
  const Activation<bfloat16> vx(device(), 2, 1, 3, 4, 8, x), g(device(), 2, 1, 3, 4, 8, dy),
      y(device(), 2, 1, 3, 4, 8), dx(device(), 2, 1, 3, 4, 8);
  norm3d_statistics(m.data(), v.data(), vx, params, exec());
  for (const View<bfloat16>& out : {dx.view(), g.view()})
    norm3d_backward(out, nullptr, nullptr, nullptr, g, vx, m.data(), v.data(), nullptr, nullptr, nullptr,
                    params, exec());
  EXPECT_EQ(to_floats(g.get()), to_floats(dx.get()));
  for (const View<bfloat16>& out : {y.view(), vx.view()})
    norm3d_apply(out, vx, m.data(), v.data(), nullptr, nullptr, nullptr, params, exec());
  EXPECT_EQ(to_floats(vx.get()), to_floats(y.get()));
}

// The mean is 200 deviations away from zero, as far as 8 bits allow; the first voxel may be none of the
// others.
TEST_P(Norm3dBfloat16Test, StatisticsWhereTheMeanIsLarge) {
  const int64_t voxels = 5 * 7 * 9, c = 8;
  for (const bool outlier : {false, true}) {
    auto x = uniform(voxels * c, 1, -1, 1);
    for (float& v : x) v = 200 + std::round(v);
    if (outlier) std::fill(x.begin(), x.begin() + c, 0.0f);
    ASSERT_EQ(x, rounded<bfloat16>(x));
    const Activation<bfloat16> vx(device(), 1, 5, 7, 9, c, stored<bfloat16>(x));
    const Buffer<float> m(device(), c), v(device(), c);
    norm3d_statistics(m.data(), v.data(), vx, {}, exec());
    const NormStatistics t = norm_statistics(to_doubles(x), {1, voxels, c}, {});
    EXPECT_TRUE(all_close(m.get(), t.mean, 0, 1e-7));
    EXPECT_TRUE(all_close(v.get(), t.variance, 0, 1e-6));
  }
}

// Pieces as a convolution leaves them: of whole samples and of different sizes.
TEST_P(Norm3dBfloat16Test, StatisticsFromSumsOverPieces) {
  for (const int64_t c : {1, 5, 16, 300}) {
    for (const bool per_instance : {false, true}) {
      const int64_t n = 3, voxels = 40, pieces = 7, groups = per_instance ? n : 1;
      SCOPED_TRACE(testing::Message() << c << " channels, " << groups << " groups");
      auto x = uniform(n * voxels * c, 1, 1, 3);
      std::vector<float> partials(static_cast<size_t>(n * pieces * c * 2), 0);
      for (int64_t i = 0; i < n * voxels * c; ++i) {
        const int64_t voxel = i / c % voxels, piece = i / c / voxels * pieces + voxel * voxel % pieces;
        float* const sums = &partials[static_cast<size_t>((piece * c + i % c) * 2)];
        const float v = x[static_cast<size_t>(i)];
        sums[0] += v, sums[1] += v * v;
      }
      const Buffer<float> p(device(), partials), m(device(), groups * c), v(device(), groups * c);
      norm3d_moments_to_statistics(m.data(), v.data(), p.data(), groups, n * pieces / groups, c,
                                   n * voxels / groups, exec());
      const NormStatistics t = norm_statistics(to_doubles(x), {n, voxels, c}, {.per_instance = per_instance});
      EXPECT_TRUE(all_close(m.get(), t.mean, 0, 1e-6));
      EXPECT_TRUE(all_close(v.get(), t.variance, 16 * float_tolerance(voxels)));
    }
  }
  const Buffer<float> p(device(), 2);
  EXPECT_THROW(norm3d_moments_to_statistics(p.data(), p.data(), p.data(), 1, 0, 1, 1, exec()),
               std::invalid_argument);
}

TEST_P(Norm3dBfloat16Test, WrongArgumentsAreErrors) {
  const Activation<bfloat16> a(device(), 1, 1, 1, 4, 3), b(device(), 1, 1, 1, 4, 2);
  const Buffer<float> s(device(), 3);
  float* const p = s.data();
  EXPECT_THROW(norm3d_apply(a, b, p, p, nullptr, nullptr, nullptr, {}, exec()), std::invalid_argument);
  EXPECT_THROW(norm3d_apply(a, a, p, p, p, nullptr, nullptr, {}, exec()), std::invalid_argument);
  EXPECT_THROW(norm3d_backward(a, p, nullptr, nullptr, a, a, p, p, p, p, nullptr, {}, exec()),
               std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
