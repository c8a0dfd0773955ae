#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"
#include "kernels/conv3d/conv3d_halo_tile.h"
#include "support/conv3d_bf16_check.h"
#include "support/devices.h"
#ifdef VOXGRAD_WITH_CUDA
#include "kernels/conv3d/conv3d_cuda.h"
#endif

namespace vg::test {
namespace {

using namespace vg::kernels;

// --- The choice of an algorithm, without a GPU -------------------------------------------------------------

// Of an A100, an RTX 4090 and a GPU before tensor cores for bfloat16.
constexpr CudaLimits a100{80, 166'912, 108}, rtx4090{89, 101'376, 128}, turing{75, 65'536, 72};

class Conv3dAlgorithmTest : public ::testing::Test {
 protected:
  // A dense volume, or the channels from `first` on of one with `width` channels.
  View<const bfloat16> volume(int64_t c, int64_t width = 0, int64_t first = 0) const {
    return contiguous_view(memory_, 1, 4, 5, 6, width == 0 ? c : width).channels(first, first + c);
  }
  static Conv3dAlgorithm choose(const View<const bfloat16>& out, const View<const bfloat16>& in,
                                const CudaLimits& limits = a100, const Conv3dParams& p = {0, 0, 3, 1, 1}) {
    return choose_conv3d_algorithm(p, out, in, limits);
  }

 private:
  alignas(16) bfloat16 memory_[4 * 5 * 6 * 128] = {};
};

TEST_F(Conv3dAlgorithmTest, TensorCoresTakeMultiplesOf16Channels) {
  for (const int64_t in : {16, 32, 48, 64}) {
    for (const int64_t out : {16, 32, 48, 64}) {
      const auto expected = in == 64 && out == 64 ? Conv3dAlgorithm::gemm : Conv3dAlgorithm::halo_tile;
      EXPECT_EQ(choose(volume(out), volume(in)), expected) << in << "->" << out;
      EXPECT_EQ(choose(volume(out), volume(in), rtx4090), expected) << in << "->" << out;
    }
  }
  for (const int64_t c : {80, 128}) {
    for (const int64_t other : {16, 64, 128}) {
      EXPECT_EQ(choose(volume(other), volume(c)), Conv3dAlgorithm::gemm) << c << "->" << other;
      EXPECT_EQ(choose(volume(c), volume(other)), Conv3dAlgorithm::gemm) << other << "->" << c;
    }
  }
  for (const int64_t c : {5, 8, 24, 33}) {
    EXPECT_EQ(choose(volume(16), volume(c)), Conv3dAlgorithm::direct) << c;
    EXPECT_EQ(choose(volume(c), volume(16)), Conv3dAlgorithm::direct) << c;
  }
}

TEST_F(Conv3dAlgorithmTest, WarpgroupsTakeWideLayersOnTheirDeviceAlone) {
  constexpr CudaLimits h100{90, 232'448, 132}, b200{100, 232'448, 148};
  for (const int64_t in : {64, 80, 128}) {
    for (const int64_t out : {64, 80, 128}) {
      const bool short_rows = GemmPlaneTile::suits(out, 6);
      EXPECT_EQ(choose(volume(out), volume(in), h100),
                short_rows ? Conv3dAlgorithm::gemm : Conv3dAlgorithm::gemm_warpgroup);
      EXPECT_EQ(choose(volume(out), volume(in), b200), Conv3dAlgorithm::gemm);
    }
  }
  const View<const bfloat16> long_rows = contiguous_view(volume(128).data, 1, 1, 4, 9, 128);
  EXPECT_EQ(choose(long_rows, long_rows, h100), Conv3dAlgorithm::gemm_warpgroup);
  EXPECT_EQ(choose(volume(64), volume(32), h100), Conv3dAlgorithm::halo_tile);
  EXPECT_EQ(choose(volume(32), volume(128), h100), Conv3dAlgorithm::gemm);
  EXPECT_EQ(choose(volume(64), volume(64), h100, {64, 64, 1, 1, 0}), Conv3dAlgorithm::gemm);
}

TEST_F(Conv3dAlgorithmTest, OtherKernelsAreDirect) {
  EXPECT_EQ(choose(volume(16), volume(16), a100, {16, 16, 1, 1, 0}), Conv3dAlgorithm::gemm);
  for (const Conv3dParams& p : {Conv3dParams{16, 16, 1, 2, 0}, {16, 16, 3, 2, 0}, {16, 16, 3, 1, 0}})
    EXPECT_EQ(choose(volume(16), volume(16), a100, p), Conv3dAlgorithm::direct);
}

TEST_F(Conv3dAlgorithmTest, VoxelsOffMultiplesOf16BytesAreDirect) {
  EXPECT_EQ(choose(volume(16, 40, 8), volume(16, 48, 16)), Conv3dAlgorithm::halo_tile);
  EXPECT_EQ(choose(volume(16), volume(16, 48, 4)), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose(volume(16, 21, 0), volume(16)), Conv3dAlgorithm::direct);
}

TEST_F(Conv3dAlgorithmTest, DevicesWithLessAreDirect) {
  EXPECT_EQ(choose(volume(16), volume(16), turing), Conv3dAlgorithm::direct);
  for (const HaloTile& tile : halo_tiles) {
    CudaLimits limits{80, tile.shared_bytes(), 108};
    EXPECT_EQ(choose(volume(tile.out_channels), volume(tile.in_channels), limits),
              Conv3dAlgorithm::halo_tile);
    --limits.shared_bytes;
    EXPECT_NE(choose(volume(tile.out_channels), volume(tile.in_channels), limits),
              Conv3dAlgorithm::halo_tile);
  }
  for (const int kernel_size : {1, 3}) {
    const Conv3dParams p{128, 128, kernel_size, 1, kernel_size / 2};
    CudaLimits limits{80, std::max(GemmTile{kernel_size, 64}.shared_bytes(), GemmPlaneTile::shared_bytes()),
                      108};
    EXPECT_EQ(choose(volume(128), volume(128), limits, p), Conv3dAlgorithm::gemm);
    --limits.shared_bytes;
    EXPECT_EQ(choose(volume(128), volume(128), limits, p), Conv3dAlgorithm::direct);
    EXPECT_EQ(choose(volume(128), volume(128), turing, p), Conv3dAlgorithm::direct);
  }
}

TEST_F(Conv3dAlgorithmTest, WeightGradientsChooseLikewise) {
  const auto choose_wgrad = [&](int64_t out, int64_t in, const CudaLimits& limits, int stride = 1) {
    return choose_conv3d_wgrad_algorithm({in, out, 3, stride, 1}, volume(out), volume(in), limits);
  };
  for (const int64_t in : {16, 32, 48, 64}) {
    for (const int64_t out : {16, 32, 48, 64}) {
      EXPECT_EQ(choose_wgrad(out, in, rtx4090),
                in == 64 && out == 64 ? Conv3dAlgorithm::gemm : Conv3dAlgorithm::halo_tile);
    }
  }
  EXPECT_EQ(choose_wgrad(80, 16, a100), Conv3dAlgorithm::gemm);
  EXPECT_EQ(choose_wgrad(128, 128, a100), Conv3dAlgorithm::gemm);
  EXPECT_EQ(choose_wgrad(16, 24, a100), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose_wgrad(16, 16, turing), Conv3dAlgorithm::direct);
  EXPECT_NE(choose_wgrad(16, 16, {80, HaloWgradTile{}.shared_bytes() - 1, 108}), Conv3dAlgorithm::halo_tile);
  CudaLimits limits{80, std::max(GemmWgradTile::shared_bytes, GemmPlaneWgradTile::shared_bytes), 108};
  EXPECT_EQ(choose_wgrad(128, 128, limits), Conv3dAlgorithm::gemm);
  --limits.shared_bytes;
  EXPECT_EQ(choose_wgrad(128, 128, limits), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose_wgrad(16, 16, a100, 2), Conv3dAlgorithm::strided);
}

TEST(HaloTileTest, TwoBlocksFitAMultiprocessor) {
  for (const HaloTile& tile : halo_tiles) {
    SCOPED_TRACE(::testing::Message() << tile.in_channels << "->" << tile.out_channels);
    EXPECT_LE(2 * (tile.shared_bytes() + 1024), 164 * 1024);  // 1 KiB a block is the system's
    EXPECT_LE(tile.shared_bytes(), rtx4090.shared_bytes);
  }
  EXPECT_LE(2 * (HaloWgradTile{}.shared_bytes() + 1024), 164 * 1024);
}

// Each chunk of the plane has a place of its own, and the eight that ldmatrix reads at once touch all banks.
void expect_conflict_free(int channels, int rows, int columns) {
  SCOPED_TRACE(::testing::Message() << channels << " channels, " << rows << 'x' << columns);
  std::vector<int> used(static_cast<size_t>(rows * columns * channels / 8));
  for (int row = 0; row < rows; ++row) {
    for (int chunk = 0; chunk < channels / 8; ++chunk) {
      for (int column = 0; column < columns; ++column)
        ++used.at(static_cast<size_t>(halo_offset(channels, columns, row, column, chunk) / 16));
      for (int first = 0; first + 8 <= columns; ++first) {
        unsigned groups = 0;
        for (int i = 0; i < 8; ++i)
          groups |= 1u << halo_offset(channels, columns, row, first + i, chunk) / 16 % 8;
        ASSERT_EQ(groups, 0xFFu) << "row " << row << " column " << first << " chunk " << chunk;
      }
    }
  }
  EXPECT_EQ(used, std::vector<int>(used.size(), 1));
}

TEST(HaloTileTest, PlanesAreFreeOfBankConflicts) {
  for (const HaloTile& tile : halo_tiles)
    expect_conflict_free(tile.in_channels, tile.height() + 2, tile.width() + 2);
  const HaloWgradTile wgrad;
  expect_conflict_free(HaloWgradTile::channels, wgrad.height() + 2, wgrad.width() + 2);
  expect_conflict_free(HaloWgradTile::channels, wgrad.height(), wgrad.width());
}

TEST(HaloTileTest, GridCoversEveryPlaneOnce) {
  const auto grid_of = [](int64_t n, int64_t d, int64_t h, int64_t w) {
    const HaloTile& tile = halo_tiles[halo_tile_index(16, 16)];
    return halo_grid(tile.height(), tile.width(), 1,
                     contiguous_view(static_cast<const bfloat16*>(nullptr), n, d, h, w, 16), 108);
  };
  for (const int64_t depth : {1, 2, 3, 17, 112, 113, 1000}) {
    for (const int64_t samples : {1, 8}) {
      const HaloGrid grid = grid_of(samples, depth, 33, 80);
      EXPECT_EQ(grid.tiles_h, 2);
      EXPECT_EQ(grid.tiles_w, 5);
      EXPECT_GE(grid.march * grid.segments, depth);
      EXPECT_LT(grid.march * (grid.segments - 1), depth);
      EXPECT_EQ(grid.blocks(), samples * 10 * grid.segments);
    }
  }
  // 160 columns of 112 planes on 216 places: marches of 28 fill three waves to 99%.
  EXPECT_EQ(grid_of(8, 112, 128, 80).march, 28);
  // Enough columns: no reason to cut them.
  EXPECT_EQ(grid_of(1, 20, 8192, 800).segments, 1);
}

// --- Results -----------------------------------------------------------------------------------------------

TEST(Conv3dBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 2, 2, 2, 16), y(DeviceKind::cpu, 1, 2, 2, 2, 16);
  const Buffer<float> weight(DeviceKind::cpu, 16 * 16 * 27);
  const Conv3dParams p{16, 16, 3, 1, 1};
  EXPECT_THROW(conv3d_forward(y, x, weight.data(), nullptr, p, exec), std::invalid_argument);
  EXPECT_THROW(conv3d_backward_input(x, y, weight.data(), p, exec), std::invalid_argument);
  EXPECT_THROW(conv3d_backward_weight(weight.data(), y, x, p, exec), std::invalid_argument);
}

#ifdef VOXGRAD_WITH_CUDA

using Conv3dBfloat16Test = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dBfloat16Test, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

TEST_P(Conv3dBfloat16Test, WrongArgumentsAreErrors) {
  const Activation<bfloat16> x(device(), 1, 4, 4, 4, 3), y(device(), 1, 4, 4, 4, 5);
  const Buffer<float> weight(device(), 3 * 5 * 27);
  EXPECT_THROW(conv3d_forward(y, x, weight.data(), nullptr, {3, 6, 3, 1, 1}, exec()), std::invalid_argument);
  EXPECT_THROW(conv3d_forward(y, x, nullptr, nullptr, {3, 5, 3, 1, 1}, exec()), std::invalid_argument);
  EXPECT_THROW(conv3d_backward_input(x, x, weight.data(), {3, 5, 3, 1, 1}, exec()), std::invalid_argument);
  EXPECT_THROW(conv3d_backward_weight(weight.data(), x, x, {3, 5, 3, 1, 1}, exec()), std::invalid_argument);
}

using Case = Conv3dCase;
using Check = Conv3dBfloat16Check;

// On tensor cores, cut as for a GPU of one multiprocessor: in long marches.
void run_in_long_marches(const Case& c, const Exec& exec) {
  Check(c, exec, true)
      .run(
          {}, {},
          [&](View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias) {
            cuda::conv3d_forward_halo_tile(y, x, weight, bias, c.params, 1, exec);
          },
          [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
            cuda::conv3d_backward_input_halo_tile(dx, dy, weight, c.params, 1, exec);
          },
          [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
            cuda::conv3d_backward_weight_halo_tile(dweight, dy, x, 1, exec);
          });
}

// Through the last resort.
void run_direct(const Case& c, const Exec& exec, bool exact) {
  Check(c, exec, exact)
      .run(
          {}, {},
          [&](View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias) {
            cuda::conv3d_forward_direct(y, x, weight, bias, c.params, exec);
          },
          [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
            cuda::conv3d_backward_input_direct(dx, dy, weight, nullptr, c.params, exec);
          },
          [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
            cuda::conv3d_backward_weight_direct(dweight, dy, x, c.params, exec);
          });
}

// Channels that no tile takes and other kernels.
const Case direct_cases[] = {
    {{1, 1, 3, 1, 1}, 1, 1, 1, 1},   {{4, 16, 3, 1, 1}, 1, 3, 2, 5},  {{3, 5, 3, 1, 1}, 2, 2, 3, 7},
    {{8, 24, 3, 1, 1}, 1, 2, 1, 17}, {{33, 16, 3, 1, 1}, 1, 1, 3, 3}, {{16, 33, 3, 2, 1}, 1, 3, 4, 5},
    {{24, 8, 1, 1, 0}, 1, 5, 1, 3},  {{5, 3, 3, 1, 0}, 1, 3, 5, 4},
};

// Every tile, and output channels that take several blocks; extents around the edges of tiles.
const Case halo_cases[] = {
    {{16, 16, 3, 1, 1}, 2, 3, 2, 5},  {{16, 16, 3, 1, 1}, 1, 5, 33, 17}, {{16, 16, 3, 1, 1}, 1, 17, 1, 2},
    {{32, 16, 3, 1, 1}, 1, 2, 17, 9}, {{32, 32, 3, 1, 1}, 1, 3, 3, 8},   {{64, 32, 3, 1, 1}, 1, 2, 17, 7},
    {{64, 16, 3, 1, 1}, 1, 1, 5, 3},  {{48, 16, 3, 1, 1}, 1, 2, 7, 10},  {{48, 64, 3, 1, 1}, 1, 1, 2, 3},
    {{64, 64, 3, 1, 1}, 1, 1, 1, 1},  {{32, 48, 3, 1, 1}, 1, 1, 3, 5},
};

TEST_P(Conv3dBfloat16Test, DirectIntegersAreExactOnEveryPlacement) {
  for (const Case& c : direct_cases) {
    const Check check(c, exec(), true);
    for (const Placement& p : placements()) check.run(p, p);
  }
}

TEST_P(Conv3dBfloat16Test, HaloTileIntegersAreExact) {
  for (const Case& c : halo_cases) Check(c, exec(), true).run();
}

// Channel slices that tensor cores take and such that fall back, with and without a halo.
TEST_P(Conv3dBfloat16Test, HaloTileIntegersAreExactOnEveryPlacement) {
  for (const Case& c : {Case{{16, 16, 3, 1, 1}, 1, 2, 3, 3}, Case{{32, 16, 3, 1, 1}, 1, 2, 3, 3}}) {
    const Check check(c, exec(), true);
    for (const Placement& p : placements()) check.run(p, p);
    check.run({0, 8, 24}, {1, 16, 8});
  }
}

// Several times around the ring of planes, in two segments.
TEST_P(Conv3dBfloat16Test, LongMarchesAreExact) {
  run_in_long_marches({{16, 16, 3, 1, 1}, 1, 17, 3, 5}, exec());
  run_in_long_marches({{32, 16, 3, 1, 1}, 2, 5, 5, 3}, exec());
  run_in_long_marches({{64, 32, 3, 1, 1}, 1, 9, 2, 3}, exec());
}

TEST_P(Conv3dBfloat16Test, RandomFloatsAreWithinTolerance) {
  for (const Case& c : direct_cases) Check(c, exec(), false).run();
  for (const Case& c : halo_cases) Check(c, exec(), false).run();
}

TEST_P(Conv3dBfloat16Test, LastResortTakesTheSameShapes) {
  for (const Case& c : {halo_cases[0], halo_cases[6]}) {
    run_direct(c, exec(), true);
    run_direct(c, exec(), false);
  }
}

#endif

}  // namespace
}  // namespace vg::test
