// Every test of an op runs on every device of the build.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "kernels/common/exec.h"

namespace vg::test {

/// cpu, and cuda in a build with CUDA (whether a GPU is there is not asked: `ctest -L cpu` leaves those tests
/// out).
inline std::vector<kernels::DeviceKind> devices() {
#ifdef VOXGRAD_WITH_CUDA
  return {kernels::DeviceKind::cpu, kernels::DeviceKind::cuda};
#else
  return {kernels::DeviceKind::cpu};
#endif
}

inline std::string device_name(kernels::DeviceKind device) {
  return device == kernels::DeviceKind::cpu ? "cpu" : "cuda";
}

}  // namespace vg::test

namespace vg::kernels {
/// How GoogleTest prints a device.
inline void PrintTo(DeviceKind device, std::ostream* out) {
  *out << test::device_name(device);
}
}  // namespace vg::kernels

namespace vg::test {

/// Fixture: `TEST_P(Conv3d, Forward)` with `VG_ON_EVERY_DEVICE(Conv3d);` and `using Conv3d = DeviceTest` in a
/// namespace.
class DeviceTest : public ::testing::TestWithParam<kernels::DeviceKind> {
 protected:
  kernels::DeviceKind device() const { return GetParam(); }
  kernels::Exec exec() { return {GetParam(), nullptr, &workspace_}; }

 private:
  kernels::Workspace workspace_{GetParam()};
};

#define VG_ON_EVERY_DEVICE(fixture)                                                                   \
  INSTANTIATE_TEST_SUITE_P(Devices, fixture, ::testing::ValuesIn(::vg::test::devices()),              \
                           [](const ::testing::TestParamInfo<::vg::kernels::DeviceKind>& parameter) { \
                             return ::vg::test::device_name(parameter.param);                         \
                           })

}  // namespace vg::test
