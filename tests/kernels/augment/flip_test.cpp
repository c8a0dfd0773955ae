#include "kernels/augment/flip.h"

#include "support/buffer.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"
#include "support/warp_oracle.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using FlipTest = DeviceTest;
VG_ON_EVERY_DEVICE(FlipTest);

const VolumeShape shapes[] = {{1, 1, 1, 1}, {2, 3, 1, 5}, {3, 2, 3, 17}, {1, 2, 4, 33}, {1, 1, 2, 100}};

template <class T>
std::vector<T> flipped(const std::vector<T>& x, const VolumeShape& s, const std::array<bool, 3>& axes) {
  std::vector<T> y(x.size());
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t d = 0; d < s.d; ++d) {
      for (int64_t h = 0; h < s.h; ++h) {
        for (int64_t w = 0; w < s.w; ++w)
          y[s.index(n, axes[0] ? s.d - 1 - d : d, axes[1] ? s.h - 1 - h : h, axes[2] ? s.w - 1 - w : w)] =
              x[s.index(n, d, h, w)];
      }
    }
  }
  return y;
}

template <class T>
void check_flips(const VolumeShape& s, const std::vector<T>& values, const Placement& p, const Exec& exec) {
  const Activation<T> x(exec.device, s.n, s.d, s.h, s.w, 1, values, p);
  for (int mask = 0; mask < 8; ++mask) {
    const std::array<bool, 3> axes{(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0};
    const Activation<T> y(exec.device, s.n, s.d, s.h, s.w, 1, p);
    flip(y, x, axes, exec);
    EXPECT_EQ(y.get(), flipped(values, s, axes)) << "axes " << mask;
  }
}

TEST_P(FlipTest, EverySetOfAxes) {
  for_each_instruction_set(device(), [&] {
    for (const VolumeShape& s : shapes) {
      for (const Placement& p : {Placement{}, Placement{1, 0, 0}}) {
        check_flips(s, uniform(s.count(), 1), p, exec());
        check_flips(s, labels(s.count(), 2, 5), p, exec());
      }
    }
  });
}

TEST_P(FlipTest, ShapeMismatchIsAnError) {
  const Activation<float> y(device(), 1, 2, 2, 4, 1), x(device(), 1, 2, 2, 5, 1);
  const Activation<uint8_t> labels_y(device(), 1, 2, 2, 4, 1), labels_x(device(), 2, 2, 2, 4, 1);
  EXPECT_THROW(flip(y, x, {}, exec()), std::invalid_argument);
  EXPECT_THROW(flip(labels_y, labels_x, {}, exec()), std::invalid_argument);
}

TEST(FlipThreadsTest, SameBitsForAnyNumberOfThreads) {
  const VolumeShape s{2, 16, 32, 40};
  const Activation<float> x(DeviceKind::cpu, s.n, s.d, s.h, s.w, 1, uniform(s.count(), 3));
  Workspace workspace(DeviceKind::cpu);
  expect_thread_independent([&] {
    const Activation<float> y(DeviceKind::cpu, s.n, s.d, s.h, s.w, 1);
    flip(y, x, {true, false, true}, {DeviceKind::cpu, nullptr, &workspace});
    return y.get();
  });
}

}  // namespace
}  // namespace vg::test
