#include "kernels/conv3d/conv3d_algorithm.h"
#include "support/conv3d_bf16_check.h"
#include "support/devices.h"
#ifdef VOXGRAD_WITH_CUDA
#include "kernels/conv3d/conv3d_cuda.h"
#endif

namespace vg::test {
namespace {

using namespace vg::kernels;

constexpr CudaLimits a100{80, 166'912, 108}, turing{75, 65'536, 72};

TEST(Conv3dPointwiseAlgorithmTest, BetweenFewChannelsAndMore) {
  alignas(16) static const bfloat16 memory[4 * 5 * 6 * 128] = {};
  const auto volume = [&](int64_t c, int64_t width) {
    return contiguous_view(static_cast<const bfloat16*>(memory), 1, 4, 5, 6, width).channels(0, c);
  };
  const auto choose = [&](int64_t out, int64_t in, int kernel_size = 1, const CudaLimits& limits = a100) {
    return choose_conv3d_algorithm({in, out, kernel_size, 1, 0}, volume(out, out), volume(in, in), limits);
  };
  for (const int64_t narrow : {1, 3, 4, 5, 8}) {
    for (const int64_t wide : {8, 16, 32, 64}) {
      EXPECT_EQ(choose(narrow, wide), Conv3dAlgorithm::pointwise) << wide << "->" << narrow;
      EXPECT_EQ(choose(wide, narrow), Conv3dAlgorithm::pointwise) << narrow << "->" << wide;
      EXPECT_EQ(choose_conv3d_wgrad_algorithm({wide, narrow, 1, 1, 0}, volume(narrow, narrow),
                                              volume(wide, wide), a100),
                Conv3dAlgorithm::pointwise);
    }
    EXPECT_EQ(choose(narrow, 24), Conv3dAlgorithm::direct);
  }
  EXPECT_EQ(choose(9, 16), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose(4, 16, 3), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose(4, 16, 1, turing), Conv3dAlgorithm::direct);
  // The wide side's voxels must lie at multiples of 16 bytes, the narrow side's anywhere.
  const Conv3dParams p{16, 4, 1, 1, 0};
  EXPECT_EQ(choose_conv3d_algorithm(p, volume(4, 5), volume(16, 24), a100), Conv3dAlgorithm::pointwise);
  EXPECT_EQ(choose_conv3d_algorithm(p, volume(4, 4), volume(16, 20), a100), Conv3dAlgorithm::direct);
}

#ifdef VOXGRAD_WITH_CUDA

using Conv3dPointwiseTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dPointwiseTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

void run(const Conv3dCase& c, const Exec& exec, bool exact, const Placement& x_place = {},
         const Placement& y_place = {}) {
  Conv3dBfloat16Check(c, exec, exact)
      .run(
          x_place, y_place,
          [&](View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias) {
            cuda::conv3d_forward_pointwise(y, x, weight, bias, exec);
          },
          [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
            cuda::conv3d_backward_input_pointwise(dx, dy, weight, exec);
          },
          [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
            cuda::conv3d_backward_weight_pointwise(dweight, dy, x, exec);
          });
}

// Each count of lanes a voxel, whole and partial narrow voxels, either side the narrow one; more voxels than
// a warp, a block and (the second case) several blocks take at a time.
const Conv3dCase cases[] = {
    {{16, 4, 1, 1, 0}, 2, 3, 5, 7},  {{16, 4, 1, 1, 0}, 1, 17, 17, 17}, {{4, 16, 1, 1, 0}, 1, 2, 3, 17},
    {{8, 1, 1, 1, 0}, 1, 1, 1, 1},   {{8, 8, 1, 1, 0}, 1, 5, 1, 3},     {{3, 8, 1, 1, 0}, 1, 1, 17, 2},
    {{32, 5, 1, 1, 0}, 1, 7, 2, 3},  {{8, 32, 1, 1, 0}, 2, 1, 5, 3},    {{64, 2, 1, 1, 0}, 1, 3, 3, 5},
    {{7, 64, 1, 1, 0}, 1, 1, 2, 17}, {{64, 8, 1, 1, 0}, 1, 2, 5, 3},
};

TEST_P(Conv3dPointwiseTest, IntegersAreExact) {
  for (const Conv3dCase& c : cases) run(c, exec(), true);
}

TEST_P(Conv3dPointwiseTest, EveryPlacementIsExact) {
  for (const Conv3dCase& c :
       {Conv3dCase{{16, 4, 1, 1, 0}, 2, 3, 2, 7}, Conv3dCase{{32, 8, 1, 1, 0}, 1, 3, 5, 3}}) {
    const Conv3dCase turned{{c.params.out_channels, c.params.in_channels, 1, 1, 0}, c.n, c.d, c.h, c.w};
    for (const Placement& wide : {Placement{0, 0, 0}, Placement{1, 0, 0}, Placement{1, 8, 24}}) {
      for (const Placement& narrow : placements()) {
        run(c, exec(), true, wide, narrow);
        run(turned, exec(), true, narrow, wide);
      }
    }
  }
}

TEST_P(Conv3dPointwiseTest, RandomFloatsAreWithinTolerance) {
  for (const Conv3dCase& c : cases) run(c, exec(), false);
}

// As the public functions choose.
TEST_P(Conv3dPointwiseTest, IsChosen) {
  Conv3dBfloat16Check({{16, 4, 1, 1, 0}, 1, 3, 5, 7}, exec(), true).run({1, 0, 0}, {1, 3, 2});
}

#endif

}  // namespace
}  // namespace vg::test
