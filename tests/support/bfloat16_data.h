// Vectors of bfloat16 in tests.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "kernels/common/bfloat16.h"
#include "support/buffer.h"
#include "support/devices.h"

namespace vg::test {

inline std::vector<kernels::bfloat16> to_bfloat16(const std::vector<float>& values) {
  std::vector<kernels::bfloat16> result;
  result.reserve(values.size());
  for (const float v : values) result.push_back(kernels::to_bfloat16(v));
  return result;
}
inline std::vector<float> to_float(const std::vector<kernels::bfloat16>& values) {
  std::vector<float> result;
  result.reserve(values.size());
  for (const kernels::bfloat16 v : values) result.push_back(kernels::to_float(v));
  return result;
}
/// What is left of the values in bfloat16.
inline std::vector<float> rounded(const std::vector<float>& values) {
  return to_float(to_bfloat16(values));
}

/// Rounding to nearest errs by at most half a unit of the 8 bits: 2^-8 of the magnitude.
inline constexpr double bfloat16_rounding = 0x1p-8;

/// Placements for kernels of 16 bytes an access: those of every op, and channel slices that are aligned.
inline std::vector<Placement> bfloat16_placements() {
  std::vector<Placement> result = placements();
  result.push_back({0, 8, 24});
  result.push_back({1, 16, 8});
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
