#include <algorithm>
#include <set>

#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"
#include "kernels/conv3d/conv3d_strided_gemm_tile.h"
#include "support/conv3d_bf16_check.h"
#include "support/devices.h"
#ifdef VOXGRAD_WITH_CUDA
#include "kernels/conv3d/conv3d_cuda.h"
#endif

namespace vg::test {
namespace {

using namespace vg::kernels;

// --- The choice of the algorithm and the layout, without a GPU ---------------------------------------------

constexpr CudaLimits a100{80, 166'912, 108}, rtx4090{89, 101'376, 128};
constexpr Conv3dParams stride2{0, 0, 3, 2, 1};

View<const bfloat16> volume(int64_t c, int64_t width) {
  alignas(16) static const bfloat16 memory[64 * 256] = {};
  return contiguous_view(memory, 1, 1, 1, width, c);
}

TEST(Conv3dStridedGemmAlgorithmTest, TakesWideLayersOfFewVoxelsARow) {
  const auto forward = [](int64_t out, int64_t in, int64_t w, const CudaLimits& limits) {
    return choose_conv3d_algorithm(stride2, volume(out, w), volume(in, w), limits);
  };
  const auto backward = [](int64_t in, int64_t out, int64_t w, const CudaLimits& limits) {
    return choose_conv3d_backward_input_algorithm(stride2, volume(in, w), volume(out, w), limits);
  };
  const auto wgrad = [](int64_t out, int64_t in, int64_t w, const CudaLimits& limits) {
    return choose_conv3d_wgrad_algorithm(stride2, volume(out, w), volume(in, w), limits);
  };
  constexpr auto gemm = Conv3dAlgorithm::strided_gemm, halo = Conv3dAlgorithm::strided;
  for (const int64_t in : {32, 48, 64, 128}) {
    for (const int64_t out : {64, 128, 256}) {
      EXPECT_EQ(forward(out, in, 5, a100), gemm);
      EXPECT_EQ(backward(in, out, 5, a100), gemm);
      EXPECT_EQ(backward(in, out, 5, rtx4090), gemm);
      EXPECT_EQ(wgrad(out, in, 5, a100), gemm);
      EXPECT_EQ(wgrad(out, in, 5, rtx4090), gemm);
    }
  }
  // 512 x 64 outputs take more shared memory than 256 x 128.
  EXPECT_EQ(forward(64, 64, 5, rtx4090), halo);
  EXPECT_EQ(forward(128, 64, 5, rtx4090), gemm);
  EXPECT_EQ(forward(64, 16, 5, a100), halo);
  EXPECT_EQ(forward(48, 32, 5, a100), halo);
  EXPECT_EQ(backward(16, 64, 5, a100), halo);
  EXPECT_EQ(backward(32, 48, 5, a100), halo);
  EXPECT_EQ(wgrad(32, 32, 5, a100), halo);
  EXPECT_EQ(wgrad(64, 16, 5, a100), halo);
  EXPECT_EQ(forward(64, 32, 63, a100), gemm);
  EXPECT_EQ(forward(64, 32, 64, a100), halo);
  EXPECT_EQ(backward(32, 64, 63, a100), gemm);
  EXPECT_EQ(backward(32, 64, 64, a100), halo);
  EXPECT_EQ(wgrad(64, 32, 31, a100), gemm);
  EXPECT_EQ(wgrad(64, 32, 32, a100), halo);
}

// Every tap once, those of a parity behind each other.
TEST(StridedGemmTileTest, StepsAreTheTapsOrderedByParity) {
  std::set<int> taps;
  for (int step = 0; step < 9; ++step) {
    const int tap = strided_gemm_tap(step), parity = strided_gemm_parity(step);
    EXPECT_TRUE(taps.insert(tap).second);
    EXPECT_EQ(strided_gemm_odd_h(parity), tap / 3 != 1);
    EXPECT_EQ(strided_gemm_odd_w(parity), tap % 3 != 1);
    EXPECT_EQ(strided_gemm_first(step), step == 0 || parity != strided_gemm_parity(step - 1));
  }
  EXPECT_EQ(taps.size(), 9u);
}

// The copies that start at a step may only replace a tile whose taps are done with. Tiles, numbered through
// all groups, go through the places in turn.
TEST(StridedGemmTileTest, NoTileIsReplacedWhileInUse) {
  using Tile = StridedGemmForwardTile;
  const auto tile = [](int step) { return step / 9 * 4 + strided_gemm_parity(step % 9); };
  for (int step = 0; step < 4 * 9; ++step) {
    const int copied = tile(step + Tile::ahead);
    if (!strided_gemm_first((step + Tile::ahead) % 9)) continue;
    for (int other = tile(step); other < copied; ++other)
      EXPECT_NE(other % Tile::input_ring, copied % Tile::input_ring) << "step " << step;
  }
}

TEST(StridedGemmTileTest, PiecesShareTheWork) {
  EXPECT_EQ(strided_gemm_pieces(1000, 7, 2), 1);
  EXPECT_EQ(strided_gemm_pieces(3, 1, 16), 1);
  EXPECT_EQ(strided_gemm_pieces(18, 12, 4), 3);   // 128->256 at 7x8x5, batch 8
  EXPECT_EQ(strided_gemm_pieces(24, 70, 32), 2);  // its gradient of the weights
  for (const int64_t blocks : {1, 3, 6, 24, 128}) {
    for (const int64_t steps : {1, 2, 70, 560, 4480}) {
      const int64_t pieces = strided_gemm_pieces(blocks, steps, 32);
      EXPECT_GE(pieces, 1);
      EXPECT_LE(pieces, steps);
      EXPECT_LE(pieces * blocks, std::max<int64_t>(blocks, 128));
    }
  }
}

// kd = 0 and 2 share a block where their planes do not lie further apart than a stage, taps' reach included.
TEST(StridedGemmTileTest, OuterPlanesShareBlocksWhereTheyAreSmall) {
  EXPECT_TRUE(strided_gemm_wgrad_outer_applies(128, 256, 8, 5));    // 14x16x10 to 7x8x5
  EXPECT_FALSE(strided_gemm_wgrad_outer_applies(64, 128, 16, 10));  // 28x32x20 to 14x16x10
  EXPECT_FALSE(strided_gemm_wgrad_outer_applies(128, 64, 8, 5));
  EXPECT_TRUE(strided_gemm_wgrad_outer_applies(32, 128, 8, 7));
  EXPECT_FALSE(strided_gemm_wgrad_outer_applies(32, 128, 7, 8));
  EXPECT_EQ(strided_gemm_wgrad_shared_bytes(128, 256, 8, 5), strided_gemm_wgrad_outer_tile.shared_bytes());
  EXPECT_EQ(strided_gemm_wgrad_shared_bytes(64, 128, 16, 10),
            strided_gemm_wgrad_tile(64, 128).shared_bytes());
}

// --- Results -----------------------------------------------------------------------------------------------

#ifdef VOXGRAD_WITH_CUDA

using Case = Conv3dCase;
using Check = Conv3dBfloat16Check;

void run_in_pieces(const Check& check, const Exec& exec, int64_t pieces, const Placement& x = {},
                   const Placement& y = {}) {
  check.run(
      x, y,
      [&](View<bfloat16> out, View<const bfloat16> in, const float* weight, const float* bias) {
        cuda::conv3d_forward_strided_gemm(out, in, weight, bias, exec, pieces);
      },
      [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
        cuda::conv3d_backward_input_strided_gemm(dx, dy, weight, nullptr, exec);
      },
      [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> in) {
        cuda::conv3d_backward_weight_strided_gemm(dweight, dy, in, exec, pieces);
      });
}

constexpr Conv3dParams kernel3(int64_t in, int64_t out) {
  return {in, out, 3, 2, 1};
}

// Every tile, extents around those of tiles, several blocks, samples, groups of channels and pieces.
struct PiecesCase {
  Case c;
  int64_t pieces;
};
const PiecesCase cases[] = {
    {{kernel3(32, 64), 2, 3, 2, 5}, 1},    {{kernel3(64, 128), 1, 5, 7, 3}, 3},
    {{kernel3(48, 64), 1, 17, 1, 2}, 2},   {{kernel3(32, 128), 1, 2, 17, 35}, 1},
    {{kernel3(96, 80), 3, 1, 7, 16}, 1},   {{kernel3(32, 64), 1, 1, 3, 61}, 2},
    {{kernel3(128, 64), 1, 17, 15, 9}, 0}, {{kernel3(32, 128), 2, 4, 15, 13}, 2},
};

using Conv3dStridedGemmTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dStridedGemmTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

TEST_P(Conv3dStridedGemmTest, IntegersAreExact) {
  for (const PiecesCase& c : cases) run_in_pieces(Check(c.c, exec(), true), exec(), c.pieces);
}

TEST_P(Conv3dStridedGemmTest, RandomFloatsAreWithinTolerance) {
  for (const PiecesCase& c : {cases[0], cases[1], cases[2]})
    run_in_pieces(Check(c.c, exec(), false), exec(), c.pieces);
}

// Channel slices, with and without a halo; the public functions choose these kernels too.
TEST_P(Conv3dStridedGemmTest, IntegersAreExactOnEveryPlacement) {
  const Check check({kernel3(32, 64), 1, 2, 3, 3}, exec(), true);
  for (const Placement& p : placements()) check.run(p, p);
  run_in_pieces(check, exec(), 2, {0, 8, 24}, {1, 16, 8});
}

// The widest rows that tiles take, and rows of one voxel.
TEST_P(Conv3dStridedGemmTest, RowsOfAnyWidthAreExact) {
  const Check wide({kernel3(32, 64), 1, 1, 4, 126}, exec(), true);
  wide.run();
  const Check longest({kernel3(32, 128), 1, 1, 5, 61}, exec(), true);
  run_in_pieces(longest, exec(), 2);
  const Check narrow({kernel3(32, 64), 2, 5, 3, 1}, exec(), true);
  run_in_pieces(narrow, exec(), 1);
}

#endif

}  // namespace
}  // namespace vg::test
