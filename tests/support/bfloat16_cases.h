// Which cases tests of bfloat16 kernels take: on CUDA alone, and with accesses of 16 bytes and without.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "support/buffer.h"
#include "support/devices.h"
#include "support/stored.h"

namespace vg::test {

/// Placements for kernels of 16 bytes an access: those of every op, and slices of so many channels whose
/// voxels are aligned, whether the channels fill 16 bytes or not.
inline std::vector<Placement> bfloat16_placements(int64_t channels) {
  std::vector<Placement> result = placements();
  result.push_back({0, 8, 16 - channels % 8});
  result.push_back({1, 16, 8 - channels % 8});
  return result;
}
/// Channels that take 16 bytes an access and such that do not.
inline constexpr int64_t bfloat16_channels[] = {1, 3, 4, 5, 8, 16, 24, 33, 64};

/// Fixture for what runs on CUDA alone: `VG_ON_CUDA(Fixture)`.
#ifdef VOXGRAD_WITH_CUDA
#define VG_ON_CUDA(fixture)                                                                           \
  INSTANTIATE_TEST_SUITE_P(Devices, fixture, ::testing::Values(::vg::kernels::DeviceKind::cuda),      \
                           [](const ::testing::TestParamInfo<::vg::kernels::DeviceKind>& parameter) { \
                             return ::vg::test::device_name(parameter.param);                         \
                           })
#else
#define VG_ON_CUDA(fixture) GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(fixture)
#endif

}  // namespace vg::test
