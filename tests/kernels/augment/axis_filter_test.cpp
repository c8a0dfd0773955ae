#include "kernels/augment/axis_filter.h"

#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/error_message.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using AxisFilterTest = DeviceTest;
VG_ON_EVERY_DEVICE(AxisFilterTest);

struct Extents {
  int64_t n, d, h, w;
  int64_t count() const { return n * d * h * w; }
  int64_t length(int axis) const { return axis == 0 ? d : axis == 1 ? h : w; }
  int64_t step(int axis) const { return axis == 0 ? h * w : axis == 1 ? w : 1; }
};

// Voxel by voxel: the place along the axis, and a sum over the axis.
std::vector<double> filtered(const Extents& s, int axis, const std::vector<float>& x,
                             const std::vector<float>& matrix, const std::vector<float>& before) {
  const int64_t length = s.length(axis), step = s.step(axis);
  std::vector<double> y(before.begin(), before.end());
  for (int64_t v = 0; v < s.count(); ++v) {
    const int64_t i = v / step % length, first = v - i * step;
    for (int64_t j = 0; j < length; ++j)
      y[static_cast<size_t>(v)] += static_cast<double>(matrix[static_cast<size_t>(i * length + j)]) *
                                   static_cast<double>(x[static_cast<size_t>(first + j * step)]);
  }
  return y;
}

void expect_filtered(DeviceKind device, const Exec& exec, const Extents& s, int axis,
                     const std::vector<float>& matrix) {
  SCOPED_TRACE(testing::Message() << s.n << ' ' << s.d << ' ' << s.h << ' ' << s.w << " axis " << axis);
  const auto x = integers(s.count(), 1), before = integers(s.count(), 3);
  for (const int halo : {0, 1}) {
    Activation<float> vx(device, s.n, s.d, s.h, s.w, 1, x, {halo, 0, 0});
    for_each_instruction_set(device, [&] {
      Activation<float> y(device, s.n, s.d, s.h, s.w, 1, Placement{1 - halo, 0, 0});
      axis_filter(y, vx, matrix, axis, false, exec);
      EXPECT_TRUE(all_close(y.get(), filtered(s, axis, x, matrix, std::vector<float>(x.size())), 0));
      y.set(before);
      axis_filter(y, vx, matrix, axis, true, exec);
      EXPECT_TRUE(all_close(y.get(), filtered(s, axis, x, matrix, before), 0));
    });
  }
}

TEST_P(AxisFilterTest, ExactWithIntegersAlongEveryAxis) {
  const Extents shapes[] = {{1, 1, 1, 1}, {2, 2, 3, 5},   {1, 5, 2, 3},  {1, 7, 3, 17},
                            {1, 3, 7, 2}, {1, 3, 33, 16}, {1, 33, 2, 7}, {2, 2, 5, 33}};
  for (const Extents& s : shapes) {
    for (const int axis : {0, 1, 2})
      expect_filtered(device(), exec(), s, axis, integers(s.length(axis) * s.length(axis), 2));
  }
}

// Zeros are left out of the sums: bands, rows and columns without any other element, the matrix of zeros.
TEST_P(AxisFilterTest, MatricesWithZeros) {
  const Extents s{1, 21, 40, 35};
  for (const int axis : {0, 1, 2}) {
    const int64_t length = s.length(axis);
    std::vector<float> band(static_cast<size_t>(length * length)), corner = band;
    for (int64_t i = 0; i < length; ++i) {
      for (int64_t j = 0; j < length; ++j)
        band[static_cast<size_t>(i * length + j)] = std::abs(i - j) <= 2 ? static_cast<float>(3 + i - j) : 0;
    }
    corner[static_cast<size_t>(length - 1)] = 2;             // the first output takes the last input
    corner[static_cast<size_t>((length - 1) * length)] = 3;  // and the last output the first
    expect_filtered(device(), exec(), s, axis, band);
    expect_filtered(device(), exec(), s, axis, corner);
    expect_filtered(device(), exec(), s, axis, std::vector<float>(band.size()));
  }
}

// More than one panel of inputs, more than one tile of columns and more than one piece of rows.
TEST_P(AxisFilterTest, LongAxes) {
  const Extents shapes[] = {{1, 130, 1, 5}, {1, 2, 131, 20}, {1, 1, 2, 150}, {1, 7, 11, 70}};
  for (const Extents& s : shapes) {
    for (const int axis : {0, 1, 2})
      expect_filtered(device(), exec(), s, axis, integers(s.length(axis) * s.length(axis), 4, 2));
  }
}

TEST_P(AxisFilterTest, RandomFloats) {
  const Extents s{1, 19, 23, 29};
  const auto x = uniform(s.count(), 1);
  Activation<float> vx(device(), s.n, s.d, s.h, s.w, 1, x);
  for (const int axis : {0, 1, 2}) {
    const auto matrix = uniform(s.length(axis) * s.length(axis), 2);
    for_each_instruction_set(device(), [&] {
      Activation<float> y(device(), s.n, s.d, s.h, s.w, 1);
      axis_filter(y, vx, matrix, axis, false, exec());
      EXPECT_TRUE(all_close(y.get(), filtered(s, axis, x, matrix, std::vector<float>(x.size())),
                            float_tolerance(s.length(axis))));
    });
  }
}

TEST(AxisFilterThreads, SameBitsForAnyNumberOfThreads) {
  Activation<float> x(DeviceKind::cpu, 2, 17, 19, 50, 1, uniform(2 * 17 * 19 * 50, 1));
  for (const int axis : {0, 1, 2}) {
    const int64_t length = axis_length("test", x, axis);
    const auto matrix = uniform(length * length, 2);
    expect_thread_independent([&] {
      Workspace workspace(DeviceKind::cpu);
      Activation<float> y(DeviceKind::cpu, 2, 17, 19, 50, 1);
      axis_filter(y, x, matrix, axis, false, {DeviceKind::cpu, nullptr, &workspace});
      return y.get();
    });
  }
}

TEST_P(AxisFilterTest, WrongArgumentsAreErrors) {
  Activation<float> x(device(), 1, 2, 3, 4, 1), y(device(), 1, 2, 3, 4, 1), other(device(), 1, 2, 3, 5, 1);
  const std::vector<float> matrix(9);
  EXPECT_EQ(message_of([&] { axis_filter(y, x, matrix, 2, false, exec()); }),
            "axis_filter: the matrix has 9 elements, expected 4 x 4 for axis 2");
  EXPECT_EQ(message_of([&] { axis_filter(y, x, matrix, 3, false, exec()); }),
            "axis_filter: the axis is 3, expected 0, 1 or 2");
  EXPECT_THROW(axis_filter(other, x, matrix, 1, false, exec()), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
