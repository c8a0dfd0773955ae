// What the tests of all augmentation kernels do: run a transform on volumes of any strides, on every device
// and instruction set.
#pragma once

#include "kernels/augment/volumes.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/error_message.h"
#include "support/fourier.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {

inline int64_t count_of(const Extents3& extent) {
  return extent[0] * extent[1] * extent[2];
}

/// Runs transform(y, x, exec) on `n` volumes that hold `x`, dense and with gaps between rows, and compares
/// the result with `expected`.
template <class Transform>
void expect_transformed(DeviceKind device, const kernels::Exec& exec, int64_t n, const Extents3& s,
                        const std::vector<float>& x, const std::vector<double>& expected, double tolerance,
                        const Transform& transform) {
  SCOPED_TRACE(testing::Message() << n << " x " << s[0] << ' ' << s[1] << ' ' << s[2]);
  for (const int halo : {0, 1}) {
    Activation<float> vx(device, n, s[0], s[1], s[2], 1, x, {halo, 0, 0});
    for_each_instruction_set(device, [&] {
      Activation<float> y(device, n, s[0], s[1], s[2], 1, Placement{1 - halo, 0, 0});
      transform(y.view(), View<const float>(vx.view()), exec);
      EXPECT_TRUE(all_close(y.get(), expected, tolerance));
    });
  }
}

/// transform(y, x, exec) gives the same bits for any number of threads.
template <class Transform>
void expect_transform_thread_independent(const Transform& transform) {
  const Activation<float> x(DeviceKind::cpu, 2, 13, 17, 45, 1, uniform(2 * 13 * 17 * 45, 1));
  expect_thread_independent([&] {
    kernels::Workspace workspace(DeviceKind::cpu);
    Activation<float> y(DeviceKind::cpu, 2, 13, 17, 45, 1);
    transform(y.view(), View<const float>(x.view()), kernels::Exec{DeviceKind::cpu, nullptr, &workspace});
    return y.get();
  });
}

/// Volume `i` of several.
inline std::vector<float> volume_of(const std::vector<float>& values, const Extents3& extent, int64_t i) {
  return {values.begin() + i * count_of(extent), values.begin() + (i + 1) * count_of(extent)};
}

/// Two volumes one after the other.
inline std::vector<double> joined(std::vector<double> first, const std::vector<double>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace vg::test
