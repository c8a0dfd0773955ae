#include "kernels/elementwise/elementwise.h"

#include <cmath>

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

}  // namespace
}  // namespace vg::test
