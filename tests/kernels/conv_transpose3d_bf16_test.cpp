#include "kernels/conv_transpose3d/conv_transpose3d.h"
#include "support/bfloat16_conv_check.h"
#include "support/devices.h"

namespace vg::test {
namespace {

using namespace vg::kernels;

constexpr ConvTranspose3dParams kernel3(int64_t in, int64_t out) {
  return {in, out, 3, 2, 1, 1};
}

TEST(ConvTranspose3dBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 1, 1, 1, 16), y(DeviceKind::cpu, 1, 2, 2, 2, 16);
  const Buffer<float> weight(DeviceKind::cpu, 16 * 16 * 27);
  const ConvTranspose3dParams p = kernel3(16, 16);
  EXPECT_THROW(conv_transpose3d_forward(y, x, weight.data(), nullptr, p, exec), std::invalid_argument);
  EXPECT_THROW(conv_transpose3d_backward_input(x, y, weight.data(), p, exec), std::invalid_argument);
  EXPECT_THROW(conv_transpose3d_backward_weight(weight.data(), y, x, p, exec), std::invalid_argument);
}

#ifdef VOXGRAD_WITH_CUDA

struct Case {
  ConvTranspose3dParams params;
  int64_t n, d, h, w;
};

class Check : public Bfloat16ConvCheck<ConvTranspose3dParams> {
 public:
  Check(const Case& c, const Exec& exec, bool exact)
      : Bfloat16ConvCheck(c.params, c.n, c.d, c.h, c.w, exec, exact) {}
};

constexpr ConvTranspose3dParams kernel2(int64_t in, int64_t out) {
  return {in, out, 2, 2, 0, 0};
}

// On tensor cores: channels that take several blocks or steps, extents around the edges of tiles (16 x 8
// inputs).
const Case tensor_core_cases[] = {
    {kernel3(32, 16), 2, 3, 2, 5},  {kernel3(32, 16), 1, 2, 17, 9}, {kernel3(16, 16), 1, 5, 1, 2},
    {kernel3(64, 32), 1, 1, 3, 7},  {kernel3(16, 32), 1, 2, 1, 17}, {kernel3(48, 16), 1, 1, 16, 3},
    {kernel3(128, 64), 1, 1, 1, 1}, {kernel3(32, 48), 1, 3, 1, 1},
};

// Channels and kernels of the last resort.
const Case direct_cases[] = {
    {kernel3(1, 1), 1, 1, 1, 1},  {kernel3(5, 3), 2, 3, 2, 7},    {kernel3(8, 24), 1, 1, 2, 3},
    {kernel3(33, 4), 1, 2, 1, 2}, {kernel2(1, 1), 1, 1, 1, 1},    {kernel2(16, 8), 1, 2, 3, 5},
    {kernel2(24, 4), 1, 2, 1, 3}, {kernel2(16, 16), 1, 1, 2, 17},
};

using ConvTranspose3dBfloat16Test = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, ConvTranspose3dBfloat16Test, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

TEST_P(ConvTranspose3dBfloat16Test, IntegersAreExact) {
  for (const Case& c : tensor_core_cases) Check(c, exec(), true).run();
  for (const Case& c : direct_cases) Check(c, exec(), true).run();
}

TEST_P(ConvTranspose3dBfloat16Test, RandomFloatsAreWithinTolerance) {
  for (const Case& c : tensor_core_cases) Check(c, exec(), false).run();
  for (const Case& c : direct_cases) Check(c, exec(), false).run();
}

// Channel slices that tensor cores take and such that fall back, with and without a halo.
TEST_P(ConvTranspose3dBfloat16Test, IntegersAreExactOnEveryPlacement) {
  for (const Case& c : {Case{kernel3(32, 16), 1, 2, 3, 3}, Case{kernel3(5, 3), 1, 2, 1, 3}}) {
    const Check check(c, exec(), true);
    for (const Placement& p : placements()) check.run(p, p);
    check.run({0, 8, 24}, {1, 16, 8});
  }
}

TEST_P(ConvTranspose3dBfloat16Test, WrongArgumentsAreErrors) {
  const Activation<bfloat16> x(device(), 1, 2, 2, 2, 3), y(device(), 1, 4, 4, 4, 5),
      odd(device(), 1, 4, 4, 3, 5);
  const Buffer<float> weight(device(), 3 * 5 * 27);
  const auto forward = [&](const View<bfloat16>& out, const float* w, const ConvTranspose3dParams& p) {
    conv_transpose3d_forward(out, x, w, nullptr, p, exec());
  };
  EXPECT_THROW(forward(y, weight.data(), kernel3(3, 6)), std::invalid_argument);
  EXPECT_THROW(forward(odd, weight.data(), kernel3(3, 5)), std::invalid_argument);
  EXPECT_THROW(forward(y, nullptr, kernel3(3, 5)), std::invalid_argument);
  EXPECT_THROW(conv_transpose3d_backward_input(x, x, weight.data(), kernel3(3, 5), exec()),
               std::invalid_argument);
  EXPECT_THROW(conv_transpose3d_backward_weight(weight.data(), x, x, kernel3(3, 5), exec()),
               std::invalid_argument);
}

#endif

}  // namespace
}  // namespace vg::test
