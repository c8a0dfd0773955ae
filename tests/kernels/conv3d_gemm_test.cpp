#include "kernels/conv3d/conv3d_gemm_tile.h"

#include "support/conv3d_bf16_check.h"
#include "support/devices.h"
#ifdef VOXGRAD_WITH_CUDA
#include "kernels/conv3d/conv3d_cuda.h"
#endif

namespace vg::test {
namespace {

using namespace vg::kernels;

// --- Layout and cut, without a GPU -------------------------------------------------------------------------

TEST(GemmTileTest, TilesAreFreeOfBankConflicts) {
  for (const int chunks : {4, 8}) {
    for (int first = 0; first < 32; ++first) {
      for (int chunk = 0; chunk < chunks; ++chunk) {
        unsigned groups = 0;
        for (int row = first; row < first + 8; ++row)
          groups |= 1u << gemm_offset(chunks, row, chunk) / 16 % 8;
        ASSERT_EQ(groups, 0xFFu) << chunks << " chunks, row " << first << " chunk " << chunk;
      }
    }
  }
}

TEST(GemmTileTest, EveryChunkHasItsPlace) {
  for (const int chunks : {4, 8}) {
    std::vector<int> used(static_cast<size_t>(64 * chunks));
    for (int row = 0; row < 64; ++row) {
      for (int chunk = 0; chunk < chunks; ++chunk)
        ++used.at(static_cast<size_t>(gemm_offset(chunks, row, chunk) / 16));
    }
    EXPECT_EQ(used, std::vector<int>(used.size(), 1));
  }
}

TEST(GemmTileTest, EveryChannelHasItsColumn) {
  std::vector<int> used(64);
  for (int fragment = 0; fragment < 8; ++fragment) {
    for (int column = 0; column < 8; ++column) ++used.at(static_cast<size_t>(gemm_channel(fragment, column)));
  }
  EXPECT_EQ(used, std::vector<int>(64, 1));
}

TEST(GemmTileTest, TwoBlocksFitAMultiprocessor) {
  for (const int kernel_size : {1, 3}) {
    for (const int columns : {32, 64})
      EXPECT_LE(2 * (GemmTile{kernel_size, columns}.shared_bytes() + 1024), 164 * 1024);
  }
  for (const int columns : {64, 128})
    EXPECT_LE(2 * (GemmTile{3, columns, true}.shared_bytes() + 1024), 228 * 1024);
  EXPECT_LE(3 * (GemmWgradTile::shared_bytes + 1024), 164 * 1024);
  EXPECT_LE(GemmPlaneWgradTile::shared_bytes, 99 * 1024);
  EXPECT_LE(GemmPlaneTile::shared_bytes(), 99 * 1024);
}

TEST(GemmTileTest, PiecesFillTheGpu) {
  // Enough blocks, or nothing to cut.
  EXPECT_EQ(gemm_pieces(1024, 72, 256, 1, 5), 1);
  EXPECT_EQ(gemm_pieces(1, 1, 256, 1, 5), 1);
  // 256->256 at 7x8x5, batch 8: 44 blocks of 72 steps fill 256 places five times.
  EXPECT_EQ(gemm_pieces(44, 72, 256, 1, 5), 5);
  for (const int64_t blocks : {1, 2, 3, 17, 154, 588}) {
    for (const int64_t steps : {1, 2, 9, 72, 3000}) {
      const int64_t pieces = gemm_pieces(blocks, steps, 256, 1, 5);
      EXPECT_GE(pieces, 1);
      EXPECT_LE(pieces, steps);
    }
  }
}

#ifdef VOXGRAD_WITH_CUDA

using Conv3dGemmTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dGemmTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

using Case = Conv3dCase;

// Runs the kernels with the sums cut into `pieces` (0: as the choice is).
void run(const Case& c, const Exec& exec, bool exact, int64_t pieces = 0, const Placement& x_place = {},
         const Placement& y_place = {}) {
  SCOPED_TRACE(::testing::Message() << pieces << " pieces");
  Conv3dBfloat16Check(c, exec, exact)
      .run(
          x_place, y_place,
          [&](View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias) {
            cuda::conv3d_forward_gemm(y, x, weight, bias, c.params, exec, pieces);
          },
          [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
            cuda::conv3d_backward_input_gemm(dx, dy, weight, c.params, exec, pieces);
          },
          [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
            cuda::conv3d_backward_weight_gemm(dweight, dy, x, c.params, exec, pieces);
          });
}

// Whole tiles and parts of them in channels, one and several blocks of columns, extents around the tiles'
// edges: 3x17x5 with padding is more than one tile of positions.
const Case cases[] = {
    {{64, 64, 3, 1, 1}, 1, 3, 5, 2},  {{16, 80, 3, 1, 1}, 2, 2, 3, 5},  {{80, 16, 3, 1, 1}, 1, 5, 1, 7},
    {{16, 16, 3, 1, 1}, 1, 3, 17, 5}, {{128, 64, 3, 1, 1}, 1, 1, 2, 3}, {{48, 96, 3, 1, 1}, 1, 7, 2, 1},
    {{16, 144, 3, 1, 1}, 1, 1, 1, 1}, {{32, 16, 3, 1, 1}, 2, 1, 1, 17},
};
const Case pointwise_cases[] = {
    {{64, 64, 1, 1, 0}, 1, 3, 5, 2},  {{16, 16, 1, 1, 0}, 2, 3, 17, 5}, {{80, 144, 1, 1, 0}, 1, 2, 1, 7},
    {{256, 16, 1, 1, 0}, 1, 1, 2, 3}, {{16, 96, 1, 1, 0}, 1, 7, 1, 1},
};

TEST_P(Conv3dGemmTest, IntegersAreExact) {
  for (const Case& c : cases) run(c, exec(), true);
  for (const Case& c : pointwise_cases) run(c, exec(), true);
}

TEST_P(Conv3dGemmTest, PiecesAreExact) {
  for (const int64_t pieces : {1, 2, 5, 9}) {
    run({{48, 16, 3, 1, 1}, 1, 2, 3, 3}, exec(), true, pieces);
    run({{16, 80, 3, 1, 1}, 1, 2, 3, 5}, exec(), true, pieces);
  }
  for (const int64_t pieces : {1, 2, 3}) run({{96, 80, 1, 1, 0}, 1, 2, 3, 3}, exec(), true, pieces);
  // Several times around the ring of stages of the weight gradient, which cuts positions.
  for (const int64_t pieces : {1, 2}) {
    run({{16, 32, 3, 1, 1}, 1, 3, 17, 5}, exec(), true, pieces);
    run({{32, 16, 1, 1, 0}, 2, 3, 17, 5}, exec(), true, pieces);
  }
}

// Rows of up to GemmPlaneTile::widest_row voxels go without padding between them.
TEST_P(Conv3dGemmTest, ShortRowsAreExact) {
  EXPECT_TRUE(GemmPlaneTile::suits(256, 8));
  EXPECT_FALSE(GemmPlaneTile::suits(256, 9));
  EXPECT_FALSE(GemmPlaneTile::suits(64, 8));
  for (const int64_t width : {1, 2, 8, 9}) run({{48, 128, 3, 1, 1}, 1, 2, 3, width}, exec(), true, 2);
  run({{16, 128, 3, 1, 1}, 1, 5, 8, 7}, exec(), true, 1);
  run({{128, 256, 3, 1, 1}, 3, 2, 1, 5}, exec(), true, 3);
  run({{80, 128, 3, 1, 1}, 2, 3, 2, 3}, exec(), true, 0, {1, 8, 24}, {1, 8, 24});
}

// Gradients of the weights take all taps of a plane at once up to GemmPlaneWgradTile::widest voxels a row.
TEST_P(Conv3dGemmTest, RowsOfAnyWidthAreExact) {
  for (const int64_t width : {1, 7, 30, 31, 32, 33})
    run({{16, 16, 3, 1, 1}, 1, 2, 3, width}, exec(), true, 2);
  run({{80, 16, 3, 1, 1}, 3, 1, 2, 31}, exec(), true, 3);
  // From row to row, plane to plane and sample to sample of views with gaps; stages of several samples.
  for (const int64_t width : {5, 30, 33}) {
    run({{16, 16, 3, 1, 1}, 2, 3, 2, width}, exec(), true, 2, {1, 8, 24}, {1, 16, 8});
    run({{16, 16, 3, 1, 1}, 5, 1, 1, width}, exec(), true, 1, {1, 16, 8}, {1, 8, 24});
  }
  run({{16, 80, 3, 1, 1}, 5, 2, 2, 2}, exec(), true, 0);
}

TEST_P(Conv3dGemmTest, EveryPlacementIsExact) {
  for (const Case& c : {Case{{64, 32, 3, 1, 1}, 2, 2, 3, 3}, Case{{32, 64, 1, 1, 0}, 2, 2, 3, 3}}) {
    for (const Placement& place : {Placement{1, 0, 0}, Placement{0, 16, 0}, Placement{1, 8, 24}}) {
      run(c, exec(), true, 1, place, place);
      run(c, exec(), true, 2, {}, place);
    }
  }
}

// Exact where the device has them, refused elsewhere.
TEST_P(Conv3dGemmTest, WarpgroupProducts) {
  const Case warpgroup_cases[] = {
      {{64, 64, 3, 1, 1}, 1, 3, 17, 5}, {{128, 64, 3, 1, 1}, 1, 2, 3, 3},  {{80, 128, 3, 1, 1}, 2, 2, 3, 5},
      {{64, 80, 3, 1, 1}, 1, 5, 1, 7},  {{16, 256, 3, 1, 1}, 1, 1, 2, 17},
  };
  for (const Case& c : warpgroup_cases) {
    for (const int64_t pieces : {1, 2}) {
      const auto forward = [&](View<bfloat16> y, View<const bfloat16> x, const float* weight,
                               const float* bias) {
        cuda::conv3d_forward_gemm_warpgroup(y, x, weight, bias, c.params, exec(), pieces);
      };
      const auto backward_input = [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
        cuda::conv3d_backward_input_gemm_warpgroup(dx, dy, weight, c.params, exec(), pieces);
      };
      const auto backward_weight = [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
        cuda::conv3d_backward_weight_gemm(dweight, dy, x, c.params, exec());
      };
      if (cuda::cuda_limits().compute_capability != 90) {
        const Activation<bfloat16> y(device(), 1, 1, 1, 1, 64);
        EXPECT_THROW(forward(y, y, nullptr, nullptr), std::invalid_argument);
        EXPECT_THROW(backward_input(y, y, nullptr), std::invalid_argument);
        return;
      }
      const Placement place = pieces == 2 ? Placement{1, 8, 24} : Placement{};
      Conv3dBfloat16Check(c, exec(), true).run(place, place, forward, backward_input, backward_weight);
      Conv3dBfloat16Check(c, exec(), false).run(place, place, forward, backward_input, backward_weight);
    }
  }
}

TEST_P(Conv3dGemmTest, RandomFloatsAreWithinTolerance) {
  for (const Case& c : cases) run(c, exec(), false);
  for (const Case& c : pointwise_cases) run(c, exec(), false);
}

#endif

}  // namespace
}  // namespace vg::test
