#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_strided_tile.h"
#include "support/conv3d_bf16_check.h"
#include "support/devices.h"
#ifdef VOXGRAD_WITH_CUDA
#include "kernels/conv3d/conv3d_cuda.h"
#endif

namespace vg::test {
namespace {

using namespace vg::kernels;

// --- The choice of an algorithm and the layout, without a GPU ----------------------------------------------

constexpr CudaLimits a100{80, 166'912, 108}, rtx4090{89, 101'376, 128}, turing{75, 65'536, 72};
constexpr Conv3dParams stride2{0, 0, 3, 2, 1};

View<const bfloat16> volume(int64_t c, int64_t width = 0, int64_t first = 0) {
  // Rows too wide for the matrix products.
  alignas(16) static const bfloat16 memory[2 * 64 * 256] = {};
  return contiguous_view(memory, 1, 1, 2, 64, width == 0 ? c : width).channels(first, first + c);
}

// All three directions with these channels.
void expect_choice(int64_t out, int64_t in, Conv3dAlgorithm expected, const CudaLimits& limits = a100,
                   const Conv3dParams& p = stride2) {
  SCOPED_TRACE(::testing::Message() << in << "->" << out);
  EXPECT_EQ(choose_conv3d_algorithm(p, volume(out), volume(in), limits), expected);
  EXPECT_EQ(choose_conv3d_backward_input_algorithm(p, volume(in), volume(out), limits), expected);
  EXPECT_EQ(choose_conv3d_wgrad_algorithm(p, volume(out), volume(in), limits), expected);
}

TEST(Conv3dStridedAlgorithmTest, TensorCoresTakeMultiplesOf16Channels) {
  for (const int64_t in : {16, 32, 48, 64, 128}) {
    for (const int64_t out : {16, 32, 48, 64, 80, 128, 256}) {
      expect_choice(out, in, Conv3dAlgorithm::strided);
      expect_choice(out, in, Conv3dAlgorithm::strided, rtx4090);
    }
  }
  for (const int64_t c : {1, 3, 4, 5, 8, 24, 33}) {
    expect_choice(c, 16, Conv3dAlgorithm::direct);
    expect_choice(16, c, Conv3dAlgorithm::direct);
  }
}

TEST(Conv3dStridedAlgorithmTest, OthersAreDirect) {
  expect_choice(32, 16, Conv3dAlgorithm::direct, a100, {0, 0, 3, 2, 0});
  expect_choice(32, 16, Conv3dAlgorithm::direct, a100, {0, 0, 1, 2, 0});
  expect_choice(32, 16, Conv3dAlgorithm::direct, a100, {0, 0, 2, 2, 0});
  expect_choice(32, 16, Conv3dAlgorithm::direct, turing);
  EXPECT_EQ(choose_conv3d_algorithm(stride2, volume(16, 40, 8), volume(32, 64, 16), a100),
            Conv3dAlgorithm::strided);
  EXPECT_EQ(choose_conv3d_algorithm(stride2, volume(16), volume(32, 64, 4), a100), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose_conv3d_algorithm(stride2, volume(16, 21), volume(32), a100), Conv3dAlgorithm::direct);
}

TEST(Conv3dStridedAlgorithmTest, DevicesWithLessSharedMemoryAreDirect) {
  for (int i = 0; i < strided_forward_tile_count; ++i) {
    const StridedForwardTile& tile = strided_forward_tiles[i];
    const auto choose = [&](int shared_bytes) {
      return choose_conv3d_algorithm(stride2, volume(tile.out_channels), volume(tile.march ? 16 : 32),
                                     {80, shared_bytes, 108});
    };
    EXPECT_EQ(choose(tile.shared_bytes()), Conv3dAlgorithm::strided);
    EXPECT_EQ(choose(tile.shared_bytes() - 1), Conv3dAlgorithm::direct);
  }
  const auto transposed = [&](int shared_bytes) {
    return strided_transposed_applies(stride2, volume(16), volume(32), {80, shared_bytes, 108});
  };
  EXPECT_TRUE(transposed(StridedTransposedTile::shared_bytes));
  EXPECT_FALSE(transposed(StridedTransposedTile::shared_bytes - 1));
  for (const int blocks : {1, 2}) {
    const auto wgrad = [&](int shared_bytes) {
      return strided_wgrad_applies(stride2, volume(16 * blocks), volume(16), {80, shared_bytes, 108});
    };
    const int needed = StridedWgradTile{{}, blocks}.shared_bytes();
    EXPECT_TRUE(wgrad(needed));
    EXPECT_FALSE(wgrad(needed - 1));
  }
}

TEST(StridedTileTest, TwoBlocksFitAMultiprocessor) {
  const auto expect_two = [](int shared_bytes) {
    EXPECT_LE(2 * (shared_bytes + 1024), 164 * 1024);  // 1 KiB a block is the system's
    EXPECT_LE(shared_bytes, rtx4090.shared_bytes);
  };
  for (const StridedForwardTile& tile : strided_forward_tiles) expect_two(tile.shared_bytes());
  expect_two(StridedTransposedTile::shared_bytes);
  for (const int blocks : {1, 2}) expect_two(StridedWgradTile{{}, blocks}.shared_bytes());
}

TEST(StridedTileTest, EveryColumnHasItsEntry) {
  for (int column = 0; column < StridedTile::fine_columns; ++column) {
    const int entry = StridedTile::entry(column);
    EXPECT_GE(entry, 0);
    EXPECT_LT(entry, StridedTile::fine_columns);
    EXPECT_EQ(StridedTile::column(entry), column);
  }
  for (int kw = 0; kw < 3; ++kw) {
    for (int i = 0; i < StridedTile::width; ++i)
      EXPECT_EQ(StridedTile::entry(2 * i + kw), StridedTile::entry(kw) + i);
  }
}

// --- Results -----------------------------------------------------------------------------------------------

#ifdef VOXGRAD_WITH_CUDA

using Case = Conv3dCase;
using Check = Conv3dBfloat16Check;

// On tensor cores, cut as for a GPU of one multiprocessor: in long marches.
void run_in_long_marches(const Case& c, const Exec& exec) {
  Check(c, exec, true)
      .run(
          {}, {},
          [&](View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias) {
            cuda::conv3d_forward_strided(y, x, weight, bias, 1, exec);
          },
          [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
            cuda::conv3d_backward_input_strided(dx, dy, weight, nullptr, 1, exec);
          },
          [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
            cuda::conv3d_backward_weight_strided(dweight, dy, x, 1, exec);
          });
}

constexpr Conv3dParams kernel3(int64_t in, int64_t out) {
  return {in, out, 3, 2, 1};
}

// Every tile, channels that take several blocks or steps, extents around the edges of tiles (16 x 8 outputs).
const Case cases[] = {
    {kernel3(16, 32), 2, 3, 2, 5},  {kernel3(16, 32), 1, 5, 33, 17}, {kernel3(16, 16), 1, 17, 1, 2},
    {kernel3(32, 64), 1, 2, 17, 7}, {kernel3(32, 32), 1, 1, 7, 16},  {kernel3(48, 16), 1, 2, 35, 3},
    {kernel3(16, 48), 1, 3, 5, 18}, {kernel3(64, 32), 1, 1, 3, 2},   {kernel3(16, 64), 1, 2, 3, 7},
    {kernel3(64, 80), 1, 1, 1, 1},  {kernel3(32, 128), 1, 2, 2, 3},
};

// Channels that no tile takes: the last resort.
const Case direct_cases[] = {
    {kernel3(1, 3), 1, 1, 2, 3},   {kernel3(4, 16), 1, 3, 2, 5},  {kernel3(16, 5), 1, 2, 5, 7},
    {kernel3(8, 24), 1, 2, 1, 17}, {kernel3(33, 16), 1, 1, 3, 3},
};

using Conv3dStridedTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dStridedTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

TEST_P(Conv3dStridedTest, IntegersAreExact) {
  for (const Case& c : cases) Check(c, exec(), true).run();
  for (const Case& c : direct_cases) Check(c, exec(), true).run();
}

TEST_P(Conv3dStridedTest, RandomFloatsAreWithinTolerance) {
  for (const Case& c : cases) Check(c, exec(), false).run();
  for (const Case& c : direct_cases) Check(c, exec(), false).run();
}

// Channel slices that tensor cores take and such that fall back, with and without a halo.
TEST_P(Conv3dStridedTest, IntegersAreExactOnEveryPlacement) {
  for (const Case& c : {Case{kernel3(16, 32), 1, 2, 3, 3}, Case{kernel3(32, 16), 1, 3, 2, 5}}) {
    const Check check(c, exec(), true);
    for (const Placement& p : placements()) check.run(p, p);
    check.run({0, 8, 24}, {1, 16, 8});
  }
}

// Several times around the rings of planes, weights that stay and weights that move.
TEST_P(Conv3dStridedTest, LongMarchesAreExact) {
  run_in_long_marches({kernel3(16, 32), 1, 17, 3, 5}, exec());
  run_in_long_marches({kernel3(32, 16), 2, 7, 5, 3}, exec());
  run_in_long_marches({kernel3(48, 64), 1, 10, 2, 3}, exec());
}

#endif

}  // namespace
}  // namespace vg::test
