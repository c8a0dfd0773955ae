#include "kernels/elementwise/elementwise.h"

#include <cmath>

#include "support/bfloat16_cases.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using ElementwiseTest = DeviceTest;
VG_ON_EVERY_DEVICE(ElementwiseTest);

struct Extents {
  int64_t n, d, h, w, c;
  int64_t count() const { return n * d * h * w * c; }
};
const Extents shapes[] = {{1, 1, 1, 1, 1}, {2, 3, 2, 5, 4}, {1, 2, 3, 7, 17}, {1, 1, 1, 40000, 1}};

TEST_P(ElementwiseTest, ZeroArrays) {
  // More than one table of 512 on CUDA, chunks of 4096, and arrays without elements.
  const Buffer<float> large(device(), uniform(9000, 1)), small(device(), uniform(700, 2));
  std::vector<OutputArray> arrays{{large.data(), 8999}, {nullptr, 0}};
  for (int64_t i = 0; i < 600; ++i) arrays.push_back({small.data() + i, 1});
  zero_arrays(arrays, exec());
  std::vector<float> expected(9000, 0), of_small = uniform(700, 2);
  expected.back() = uniform(9000, 1).back();
  std::fill_n(of_small.begin(), 600, 0.0f);
  EXPECT_EQ(large.get(), expected);
  EXPECT_EQ(small.get(), of_small);
}

TEST_P(ElementwiseTest, BinaryOpsOnEveryPlacement) {
  for (const Extents& s : shapes) {
    for (const Placement& p : placements()) {
      const auto a = integers(s.count(), 1), b = integers(s.count(), 2);
      Activation<float> va(device(), s.n, s.d, s.h, s.w, s.c, a, p), vb(device(), s.n, s.d, s.h, s.w, s.c, b);
      Activation<float> y(device(), s.n, s.d, s.h, s.w, s.c, p);
      std::vector<float> sum(a.size()), product(a.size()), accumulated(a.size());
      for (size_t i = 0; i < a.size(); ++i) {
        sum[i] = a[i] + b[i];
        product[i] = a[i] * b[i];
        accumulated[i] = product[i] + 2 * a[i];
      }
      add(y, va, vb, exec());
      EXPECT_EQ(y.get(), sum);
      multiply(y, va, vb, exec());
      EXPECT_EQ(y.get(), product);
      accumulate(y, va, 2, exec());
      EXPECT_EQ(y.get(), accumulated);
      scale(y, va, -1, exec());
      copy(y, vb, exec());
      EXPECT_EQ(y.get(), b);
      fill(y, 7, exec());
      EXPECT_EQ(y.get(), std::vector<float>(a.size(), 7));
    }
  }
}

TEST_P(ElementwiseTest, BroadcastMultiplyAndGradient) {
  for (const Extents& s : shapes) {
    const int64_t voxels = s.count() / s.c;
    const auto a = integers(s.count(), 1), b = integers(voxels, 2), g = integers(s.count(), 3);
    Activation<float> va(device(), s.n, s.d, s.h, s.w, s.c, a, {1, 2, 1}),
        vb(device(), s.n, s.d, s.h, s.w, 1, b);
    Activation<float> vg(device(), s.n, s.d, s.h, s.w, s.c, g), y(device(), s.n, s.d, s.h, s.w, s.c);
    Activation<float> da(device(), s.n, s.d, s.h, s.w, s.c), db(device(), s.n, s.d, s.h, s.w, 1);
    multiply(y, va, vb, exec());
    multiply_backward(da, db, vg, va, vb, exec());
    std::vector<float> expected_y(a.size()), expected_da(a.size()), expected_db(b.size(), 0);
    for (size_t i = 0; i < a.size(); ++i) {
      const size_t v = i / static_cast<size_t>(s.c);
      expected_y[i] = a[i] * b[v];
      expected_da[i] = g[i] * b[v];
      expected_db[v] += g[i] * a[i];
    }
    EXPECT_EQ(y.get(), expected_y);
    EXPECT_EQ(da.get(), expected_da);
    EXPECT_EQ(db.get(), expected_db);
  }
}

TEST_P(ElementwiseTest, CastRoundsToNearestEvenAndKeepsNan) {
  const std::vector<float> values = {0.0f,     -0.0f,    1.0f, 1.00390625f, 1.01171875f,
                                     -3.3e38f, INFINITY, NAN,  1e-40f,      3.4e38f};
  const auto count = static_cast<int64_t>(values.size());
  Activation<float> x(device(), 1, 1, 1, count, 1, values), y(device(), 1, 1, 1, count, 1);
  Activation<bfloat16> half(device(), 1, 1, 1, count, 1);
  cast(half, x, exec());
  cast(y, View<const bfloat16>(half), exec());
  const auto result = y.get();
  EXPECT_EQ(result[2], 1.0f);
  EXPECT_EQ(result[3], 1.0f);       // halfway, to even
  EXPECT_EQ(result[4], 1.015625f);  // halfway, to even
  EXPECT_EQ(result[6], INFINITY);
  EXPECT_TRUE(std::isnan(result[7]));
  EXPECT_EQ(result[9], INFINITY);  // above the largest bfloat16
  EXPECT_TRUE(std::signbit(result[1]));
}

TEST_P(ElementwiseTest, ZeroHaloTouchesOnlyTheHalo) {
  const int64_t n = 2, d = 2, h = 3, w = 4, c = 5;
  Buffer<float> memory(device(), n * (d + 2) * (h + 2) * (w + 2) * c);
  View<float> y{memory.data() + ((h + 2) * (w + 2) + (w + 2) + 1) * c,
                n,
                d,
                h,
                w,
                c,
                (d + 2) * (h + 2) * (w + 2) * c,
                (h + 2) * (w + 2) * c,
                (w + 2) * c,
                c,
                1};
  fill(y, 3, exec());
  zero_halo(y, exec());
  int64_t zeros = 0, threes = 0;
  for (float v : memory.get()) {
    zeros += v == 0;
    threes += v == 3;
  }
  EXPECT_EQ(threes, n * d * h * w * c);
  EXPECT_EQ(zeros, memory.count() - threes);
}

TEST_P(ElementwiseTest, ShapeMismatchIsAnError) {
  Activation<float> a(device(), 1, 1, 1, 4, 2), b(device(), 1, 1, 1, 4, 3);
  EXPECT_THROW(add(a, a, b, exec()), std::invalid_argument);
  EXPECT_THROW(multiply(a, a, b, exec()), std::invalid_argument);
}

// --- bfloat16 ----------------------------------------------------------------------------------------------

TEST(ElementwiseBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Exec cpu{DeviceKind::cpu, nullptr, &workspace};
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 1, 1, 2, 8), y(DeviceKind::cpu, 1, 1, 1, 2, 8, {1, 0, 0});
  EXPECT_THROW(fill(y, 1.0f, cpu), std::invalid_argument);
  EXPECT_THROW(zero_halo(View<bfloat16>(y), cpu), std::invalid_argument);
  EXPECT_THROW(copy(y, x, cpu), std::invalid_argument);
  EXPECT_THROW(add(y, x, x, cpu), std::invalid_argument);
  EXPECT_THROW(accumulate(y, x, 1, cpu), std::invalid_argument);
  EXPECT_THROW(scale(y, x, 1, cpu), std::invalid_argument);
  EXPECT_THROW(multiply(y, x, x, cpu), std::invalid_argument);
  EXPECT_THROW(multiply_backward(y, y, x, x, x, cpu), std::invalid_argument);
}

using ElementwiseBfloat16Test = DeviceTest;
VG_ON_CUDA(ElementwiseBfloat16Test);

// Results are rounded once: from operands that bfloat16 holds, sum and product are the exact ones rounded.
TEST_P(ElementwiseBfloat16Test, BinaryOpsOnEveryPlacement) {
  for (const int64_t c : bfloat16_channels) {
    for (const Placement& p : bfloat16_placements(c)) {
      SCOPED_TRACE(testing::Message()
                   << c << " channels, halo " << p.halo << ", before " << p.channels_before);
      const Extents s{2, 3, 1, 5, c};
      const auto a = rounded<bfloat16>(uniform(s.count(), 1)), b = rounded<bfloat16>(uniform(s.count(), 2));
      Activation<bfloat16> va(device(), s.n, s.d, s.h, s.w, s.c, stored<bfloat16>(a), p),
          vb(device(), s.n, s.d, s.h, s.w, s.c, stored<bfloat16>(b)), y(device(), s.n, s.d, s.h, s.w, s.c, p);
      std::vector<double> sum(a.size()), product(a.size()), accumulated(a.size());
      for (size_t i = 0; i < a.size(); ++i) {
        const double u = static_cast<double>(a[i]), v = static_cast<double>(b[i]);
        sum[i] = u + v, product[i] = u * v, accumulated[i] = u - 0.75 * v;
      }
      const auto expect = [&](const std::vector<double>& expected) {
        EXPECT_TRUE(all_close(to_floats(y.get()), expected, 0x1p-24, storage_error<bfloat16>));
      };
      add(y, va, vb, exec());
      expect(sum);
      multiply(y, va, vb, exec());
      expect(product);
      copy(y, va, exec());
      EXPECT_EQ(to_floats(y.get()), a);
      accumulate(y, vb, -0.75f, exec());
      expect(accumulated);
      scale(y, vb, 2, exec());
      add(y, y, y, exec());  // in place
      std::vector<float> four_b = b;
      for (float& v : four_b) v *= 4;
      EXPECT_EQ(to_floats(y.get()), four_b);
      fill(y, 1.00390625f, exec());  // halfway, to even
      EXPECT_EQ(to_floats(y.get()), std::vector<float>(a.size(), 1));
    }
  }
}

TEST_P(ElementwiseBfloat16Test, MultiplyBackwardWithAndWithoutBroadcast) {
  for (const int64_t c : bfloat16_channels) {
    for (const bool broadcast : {false, true}) {
      for (const Placement& p : bfloat16_placements(c)) {
        const int64_t voxels = 2 * 3 * 7, bc = broadcast ? 1 : c;
        SCOPED_TRACE(testing::Message() << c << " channels, broadcast " << broadcast << ", halo " << p.halo);
        const auto a = integers(voxels * c, 1), b = integers(voxels * bc, 2), g = integers(voxels * c, 3, 1);
        Activation<bfloat16> va(device(), 1, 2, 3, 7, c, stored<bfloat16>(a), p),
            vb(device(), 1, 2, 3, 7, bc, stored<bfloat16>(b)),
            vg(device(), 1, 2, 3, 7, c, stored<bfloat16>(g), p), y(device(), 1, 2, 3, 7, c),
            db(device(), 1, 2, 3, 7, bc);
        std::vector<float> expected_y(a.size()), expected_da(a.size()), expected_db(b.size(), 0);
        for (size_t i = 0; i < a.size(); ++i) {
          const size_t j = broadcast ? i / static_cast<size_t>(c) : i;
          expected_y[i] = a[i] * b[j];
          expected_da[i] = g[i] * b[j];
          expected_db[j] += g[i] * a[i];
        }
        multiply(y, va, vb, exec());
        EXPECT_EQ(to_floats(y.get()), expected_y);
        multiply_backward(vg, db, vg, va, vb, exec());  // in place
        EXPECT_EQ(to_floats(vg.get()), expected_da);
        EXPECT_EQ(to_floats(db.get()), rounded<bfloat16>(expected_db));
      }
    }
  }
}

TEST_P(ElementwiseBfloat16Test, CastsOnEveryPlacement) {
  for (const int64_t c : bfloat16_channels) {
    for (const Placement& p : bfloat16_placements(c)) {
      const auto x = uniform(2 * 3 * 5 * c, 1);
      Activation<float> vx(device(), 1, 2, 3, 5, c, x, p), back(device(), 1, 2, 3, 5, c, p);
      Activation<bfloat16> half(device(), 1, 2, 3, 5, c, p);
      cast(half, vx, exec());
      EXPECT_EQ(to_floats(half.get()), rounded<bfloat16>(x));
      cast(back, half, exec());
      EXPECT_EQ(back.get(), rounded<bfloat16>(x));
    }
  }
}

TEST_P(ElementwiseBfloat16Test, ZeroHaloTouchesOnlyTheHalo) {
  for (const int64_t c : {3, 8, 16}) {
    const int64_t n = 2, d = 2, h = 3, w = 4, row = (w + 2) * c, plane = (h + 2) * row,
                  sample = (d + 2) * plane;
    const Buffer<bfloat16> memory(device(), n * sample);
    const View<bfloat16> y{memory.data() + plane + row + c, n, d, h, w, c, sample, plane, row, c, 1};
    fill(y, 3.0f, exec());
    zero_halo(y, exec());
    int64_t zeros = 0, threes = 0;
    for (const float v : to_floats(memory.get())) zeros += v == 0, threes += v == 3;
    EXPECT_EQ(threes, n * d * h * w * c);
    EXPECT_EQ(zeros, memory.count() - threes);
  }
}

}  // namespace
}  // namespace vg::test
