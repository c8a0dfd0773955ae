#include "kernels/resample3d/resample3d.h"

#include <cmath>

#include "support/bfloat16_cases.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/odd_extents.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using Resample3dTest = DeviceTest;
VG_ON_EVERY_DEVICE(Resample3dTest);

struct Problem {
  int64_t n, c, in[3], out[3];
  int64_t in_count() const { return n * c * in[0] * in[1] * in[2]; }
  int64_t out_count() const { return n * c * out[0] * out[1] * out[2]; }
};
const Problem problems[] = {
    {1, 1, {1, 1, 1}, {1, 1, 1}},  {1, 4, {2, 3, 5}, {4, 6, 10}}, {2, 3, {4, 6, 10}, {2, 3, 5}},
    {1, 5, {3, 1, 7}, {5, 4, 17}}, {1, 2, {7, 5, 3}, {2, 1, 1}},  {1, 17, {2, 2, 3}, {3, 7, 2}},
    {1, 33, {1, 2, 2}, {1, 3, 5}}, {2, 8, {3, 3, 3}, {3, 3, 3}},  {1, 1, {1, 1, 17}, {2, 1, 40}},
};
const Resample3dParams modes[] = {
    {ResampleMode::nearest, false}, {ResampleMode::trilinear, false}, {ResampleMode::trilinear, true}};

/// Weight of input i in output o along one axis: the formula of PyTorch's documentation, in double.
double axis_weight(int64_t i, int64_t o, int64_t in, int64_t out, const Resample3dParams& params) {
  if (params.mode == ResampleMode::nearest) {
    const float scale = static_cast<float>(in) / static_cast<float>(out);
    return std::min(in - 1, static_cast<int64_t>(std::floor(static_cast<float>(o) * scale))) == i ? 1 : 0;
  }
  double position = 0;
  if (!params.align_corners) {
    position = std::max(
        0.0, static_cast<double>(in) / static_cast<double>(out) * (static_cast<double>(o) + 0.5) - 0.5);
  } else if (out > 1) {
    position = static_cast<double>(o) * static_cast<double>(in - 1) / static_cast<double>(out - 1);
  }
  position = std::min(position, static_cast<double>(in - 1));
  return std::max(0.0, 1 - std::abs(position - static_cast<double>(i)));
}

/// The dense matrix of the resampling, applied to x or, transposed, to dy.
std::vector<double> oracle(const Problem& s, const Resample3dParams& params, const std::vector<float>& values,
                           bool transposed) {
  std::vector<double> result(static_cast<size_t>(transposed ? s.in_count() : s.out_count()), 0);
  const auto index = [&](const int64_t(&extents)[3], int64_t n, int64_t d, int64_t h, int64_t w, int64_t c) {
    return static_cast<size_t>((((n * extents[0] + d) * extents[1] + h) * extents[2] + w) * s.c + c);
  };
  for (int64_t od = 0; od < s.out[0]; ++od)
    for (int64_t oh = 0; oh < s.out[1]; ++oh)
      for (int64_t ow = 0; ow < s.out[2]; ++ow)
        for (int64_t d = 0; d < s.in[0]; ++d)
          for (int64_t h = 0; h < s.in[1]; ++h)
            for (int64_t w = 0; w < s.in[2]; ++w) {
              const double weight = axis_weight(d, od, s.in[0], s.out[0], params) *
                                    axis_weight(h, oh, s.in[1], s.out[1], params) *
                                    axis_weight(w, ow, s.in[2], s.out[2], params);
              if (weight == 0) continue;
              for (int64_t n = 0; n < s.n; ++n)
                for (int64_t c = 0; c < s.c; ++c) {
                  const size_t i = index(s.in, n, d, h, w, c), o = index(s.out, n, od, oh, ow, c);
                  if (transposed) {
                    result[i] += weight * values[o];
                  } else {
                    result[o] += weight * values[i];
                  }
                }
            }
  return result;
}

Activation<float> input(DeviceKind device, const Problem& s, Placement p) {
  return {device, s.n, s.in[0], s.in[1], s.in[2], s.c, p};
}
Activation<float> output(DeviceKind device, const Problem& s, Placement p) {
  return {device, s.n, s.out[0], s.out[1], s.out[2], s.c, p};
}

TEST_P(Resample3dTest, ForwardMatchesTheOracleOnEveryPlacement) {
  for_each_instruction_set(device(), [&] {
    for (const Problem& s : problems) {
      for (const Resample3dParams& params : modes) {
        const auto values = uniform(s.in_count(), 1);
        const auto expected = oracle(s, params, values, false);
        for (const Placement& p : placements()) {
          auto x = input(device(), s, p), y = output(device(), s, p), dense = output(device(), s, {});
          x.set(values);
          resample3d_forward(y, x, params, exec());
          const double tolerance = params.mode == ResampleMode::nearest ? 0 : float_tolerance(8);
          EXPECT_TRUE(all_close(y.get(), expected, tolerance));
          resample3d_forward(dense, x, params, exec());
          EXPECT_EQ(dense.get(), y.get());
        }
      }
    }
  });
}

TEST_P(Resample3dTest, BackwardMatchesTheOracleOnEveryPlacement) {
  for_each_instruction_set(device(), [&] {
    for (const Problem& s : problems) {
      for (const Resample3dParams& params : modes) {
        const bool nearest = params.mode == ResampleMode::nearest;
        const auto values = nearest ? integers(s.out_count(), 2) : uniform(s.out_count(), 2);
        const auto expected = oracle(s, params, values, true);
        // An input enters about out / in + 1 outputs along each axis.
        double reach = 1;
        for (int a = 0; a < 3; ++a) reach *= 1 + static_cast<double>(s.out[a]) / static_cast<double>(s.in[a]);
        const double tolerance = nearest ? 0 : float_tolerance(static_cast<int64_t>(reach) + 8, reach);
        for (const Placement& p : placements()) {
          auto dx = input(device(), s, p), dense = input(device(), s, {}), dy = output(device(), s, p);
          dy.set(values);
          resample3d_backward(dx, dy, params, exec());
          EXPECT_TRUE(all_close(dx.get(), expected, tolerance));
          resample3d_backward(dense, dy, params, exec());
          EXPECT_EQ(dense.get(), dx.get());
        }
      }
    }
  });
}

// Doubling an integer ramp gives quarters, which are exact in float.
TEST_P(Resample3dTest, DoublingARampIsExact) {
  for_each_instruction_set(device(), [&] {
    Activation<float> x(device(), 1, 1, 1, 4, 1, {0, 4, 8, 12}), y(device(), 1, 1, 1, 8, 1),
        corners(device(), 1, 1, 1, 7, 1);
    resample3d_forward(y, x, {ResampleMode::trilinear, false}, exec());
    EXPECT_EQ(y.get(), (std::vector<float>{0, 1, 3, 5, 7, 9, 11, 12}));
    resample3d_forward(corners, x, {ResampleMode::trilinear, true}, exec());
    EXPECT_EQ(corners.get(), (std::vector<float>{0, 2, 4, 6, 8, 10, 12}));
    resample3d_forward(y, x, {ResampleMode::nearest, false}, exec());
    EXPECT_EQ(y.get(), (std::vector<float>{0, 0, 4, 4, 8, 8, 12, 12}));
    Activation<float> dy(device(), 1, 1, 1, 8, 1, {4, 4, 4, 4, 4, 4, 4, 8}), dx(device(), 1, 1, 1, 4, 1);
    resample3d_backward(dx, dy, {ResampleMode::trilinear, false}, exec());
    EXPECT_EQ(dx.get(), (std::vector<float>{8, 8, 8, 12}));
  });
}

// Every pair of extents along one axis: no index may leave its range, and no weight may be lost.
TEST_P(Resample3dTest, EveryScaleKeepsConstantsAndTheSumOfGradients) {
  const int64_t largest = device() == DeviceKind::cpu ? 40 : 7;
  for (int64_t in = 1; in <= largest; ++in) {
    for (int64_t out = 1; out <= largest; ++out) {
      for (const Resample3dParams& params : modes) {
        Activation<float> x(device(), 1, 1, in, 1, 1, std::vector<float>(static_cast<size_t>(in), 2)),
            y(device(), 1, 1, out, 1, 1), dx(device(), 1, 1, in, 1, 1);
        resample3d_forward(y, x, params, exec());
        ASSERT_TRUE(all_close(y.get(), std::vector<float>(static_cast<size_t>(out), 2), 0x1p-22))
            << in << " to " << out;
        resample3d_backward(dx, y, params, exec());
        double sum = 0;
        for (const float v : dx.get()) sum += v;
        ASSERT_NEAR(sum, static_cast<double>(2 * out), 1e-5 * static_cast<double>(out))
            << in << " to " << out;
      }
    }
  }
}

TEST_P(Resample3dTest, WrongShapesAreErrors) {
  Activation<float> a(device(), 1, 2, 2, 2, 2), channels(device(), 1, 2, 2, 2, 3),
      samples(device(), 2, 2, 2, 2, 2);
  View<float> empty = a;
  empty.d = 0;
  EXPECT_THROW(resample3d_forward(a, channels, {}, exec()), std::invalid_argument);
  EXPECT_THROW(resample3d_backward(a, samples, {}, exec()), std::invalid_argument);
  EXPECT_THROW(resample3d_forward(a, empty, {}, exec()), std::invalid_argument);
}

TEST(Resample3dThreads, SameBitsForAnyThreadCount) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  const Problem s{2, 4, {9, 14, 19}, {17, 27, 32}};
  auto x = input(DeviceKind::cpu, s, {}), dx = input(DeviceKind::cpu, s, {}),
       y = output(DeviceKind::cpu, s, {});
  x.set(uniform(s.in_count(), 1));
  expect_thread_independent([&] {
    resample3d_forward(y, x, {}, exec);
    resample3d_backward(dx, y, {}, exec);
    auto all = y.get();
    for (const float v : dx.get()) all.push_back(v);
    return all;
  });
}

// --- bfloat16 ----------------------------------------------------------------------------------------------

TEST(Resample3dBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Exec cpu{DeviceKind::cpu, nullptr, &workspace};
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 1, 1, 2, 8);
  EXPECT_THROW(resample3d_forward(x, x, {}, cpu), std::invalid_argument);
  EXPECT_THROW(resample3d_backward(x, x, {}, cpu), std::invalid_argument);
}

using Resample3dBfloat16Test = DeviceTest;
VG_ON_CUDA(Resample3dBfloat16Test);

void check_bfloat16(const Problem& s, const Placement& p, const Resample3dParams& params, const Exec& exec) {
  SCOPED_TRACE(testing::Message() << s.c << " channels, halo " << p.halo << ", mode "
                                  << static_cast<int>(params.mode));
  const auto x = rounded<bfloat16>(uniform(s.in_count(), 1)),
             dy = rounded<bfloat16>(uniform(s.out_count(), 2));
  const Activation<bfloat16> vx(exec.device, s.n, s.in[0], s.in[1], s.in[2], s.c, stored<bfloat16>(x), p),
      dx(exec.device, s.n, s.in[0], s.in[1], s.in[2], s.c),
      g(exec.device, s.n, s.out[0], s.out[1], s.out[2], s.c, stored<bfloat16>(dy), p),
      y(exec.device, s.n, s.out[0], s.out[1], s.out[2], s.c);
  resample3d_forward(y, vx, params, exec);
  EXPECT_TRUE(all_close(to_floats(y.get()), oracle(s, params, x, false), float_tolerance(8),
                        storage_error<bfloat16>));
  resample3d_backward(dx, g, params, exec);
  EXPECT_TRUE(all_close(to_floats(dx.get()), oracle(s, params, dy, true), float_tolerance(64, 8),
                        storage_error<bfloat16>));
}

TEST_P(Resample3dBfloat16Test, ForwardAndBackwardOnEveryPlacement) {
  size_t turn = 0;
  for (const int64_t c : bfloat16_channels) {
    for (const Problem& s : {Problem{2, c, {2, 3, 2}, {4, 5, 3}}, Problem{1, c, {3, 4, 5}, {2, 3, 1}}}) {
      for (const Placement& p : bfloat16_placements(c)) check_bfloat16(s, p, modes[turn++ % 3], exec());
    }
  }
}

// Every extent to another one, by every mode.
TEST_P(Resample3dBfloat16Test, OddExtents) {
  for (const Resample3dParams& mode : modes) {
    for (size_t i = 0; i < 6; ++i) {
      const OddExtents &in = odd_extents[i], &out = odd_extents[(i + 1) % 6];
      check_bfloat16({1, i % 2 == 0 ? 8 : 5, {in.d, in.h, in.w}, {out.d, out.h, out.w}}, {1, 8, 24}, mode,
                     exec());
    }
  }
}

}  // namespace
}  // namespace vg::test
