#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_first_tile.h"
#include "support/bfloat16_cases.h"
#include "support/conv3d_bf16_check.h"
#include "support/devices.h"
#ifdef VOXGRAD_WITH_CUDA
#include "kernels/conv3d/conv3d_cuda.h"
#endif

namespace vg::test {
namespace {

using namespace vg::kernels;

// --- Choice and layout, without a GPU ----------------------------------------------------------------------

class FirstLayerChoiceTest : public ::testing::Test {
 protected:
  static constexpr CudaLimits a100{80, 166'912, 108}, rtx4090{89, 101'376, 128}, turing{75, 65'536, 72};
  static constexpr Conv3dParams kernel3{0, 0, 3, 1, 1};

  // Channels from `first` on of a dense volume with `width` of them (0: c) and `w` voxels a row.
  View<const bfloat16> volume(int64_t c, int64_t width = 0, int64_t first = 0, int64_t w = 6) const {
    return contiguous_view(memory_, 1, 4, 5, w, width == 0 ? c : width).channels(first, first + c);
  }
  static Conv3dAlgorithm forward(const View<const bfloat16>& y, const View<const bfloat16>& x,
                                 const CudaLimits& limits = a100, const Conv3dParams& p = kernel3) {
    return choose_conv3d_algorithm(p, y, x, limits);
  }

 private:
  alignas(16) bfloat16 memory_[4 * 5 * 7 * 128] = {};
};

TEST_F(FirstLayerChoiceTest, TakesFewChannelsToMultiplesOf16) {
  for (const int64_t in : {1, 2, 3, 4}) {
    for (const int64_t out : {16, 32, 48, 64, 128}) {
      for (const CudaLimits& limits : {a100, rtx4090}) {
        EXPECT_EQ(forward(volume(out), volume(in), limits), Conv3dAlgorithm::first_layer)
            << in << "->" << out;
        EXPECT_EQ(choose_conv3d_wgrad_algorithm(kernel3, volume(out), volume(in), limits),
                  Conv3dAlgorithm::first_layer);
      }
      EXPECT_EQ(choose_conv3d_backward_input_algorithm(kernel3, volume(in), volume(out), a100),
                Conv3dAlgorithm::direct);
    }
  }
  for (const int64_t in : {5, 8, 15}) EXPECT_EQ(forward(volume(16), volume(in)), Conv3dAlgorithm::direct);
  for (const int64_t out : {4, 8, 15, 24, 33})
    EXPECT_EQ(forward(volume(out), volume(4)), Conv3dAlgorithm::direct) << out;
}

TEST_F(FirstLayerChoiceTest, TakesInputsAtAnyAddress) {
  EXPECT_EQ(forward(volume(16), volume(4, 9, 3)), Conv3dAlgorithm::first_layer);
  EXPECT_EQ(forward(volume(16, 0, 0, 7), volume(4, 0, 0, 7)), Conv3dAlgorithm::first_layer);
  // Outputs are stored 16 bytes at a time.
  EXPECT_EQ(forward(volume(16, 24, 8), volume(4)), Conv3dAlgorithm::first_layer);
  EXPECT_EQ(forward(volume(16, 24, 4), volume(4)), Conv3dAlgorithm::direct);
}

TEST_F(FirstLayerChoiceTest, OtherKernelsAndDevicesAreDirect) {
  for (const Conv3dParams& p : {Conv3dParams{4, 16, 3, 2, 1}, {4, 16, 3, 1, 0}})
    EXPECT_EQ(forward(volume(16), volume(4), a100, p), Conv3dAlgorithm::direct);
  EXPECT_EQ(forward(volume(16), volume(4), turing), Conv3dAlgorithm::direct);
  EXPECT_EQ(forward(volume(16), volume(4), {80, FirstForwardTile::shared_bytes - 1, 108}),
            Conv3dAlgorithm::direct);
}

TEST(FirstTileTest, FourBlocksFitAMultiprocessor) {
  EXPECT_LE(FirstForwardTile::shared_bytes, 48 * 1024);  // more would have to be asked for
  EXPECT_LE(FirstWgradTile::shared_bytes, 48 * 1024);
  EXPECT_LE(4 * (FirstForwardTile::shared_bytes + 1024), 164 * 1024);
  EXPECT_LE(4 * (FirstWgradTile::shared_bytes + 1024), 164 * 1024);
}

TEST(FirstTileTest, FragmentsAreFreeOfBankConflicts) {
  const auto group_of = [](int offset) { return 1u << offset / 16 % 8; };
  for (int row = 0; row < 4; ++row) {
    for (int first = 0; first + 8 <= FirstTile::pairs; ++first) {
      unsigned input = 0, gradient[4] = {};
      for (int i = 0; i < 8; ++i) {
        input |= group_of(FirstTile::pair_offset(row, first + i));
        for (int chunk = 0; chunk < 4; ++chunk)
          gradient[chunk] |= group_of(FirstWgradTile::dy_offset(row, first + i, chunk));
      }
      ASSERT_EQ(input, 0xFFu) << "row " << row << " pair " << first;
      for (const unsigned groups : gradient) ASSERT_EQ(groups, 0xFFu) << "row " << row << " pair " << first;
    }
  }
}

TEST(FirstTileTest, EveryOutputHasItsColumn) {
  std::vector<int> used(2 * FirstTile::out_channels);
  for (int fragment = 0; fragment < 4; ++fragment) {
    for (int column = 0; column < 8; ++column) {
      ++used.at(static_cast<size_t>(FirstForwardTile::voxel(column) * FirstTile::out_channels +
                                    FirstForwardTile::channel(fragment, column)));
    }
  }
  EXPECT_EQ(used, std::vector<int>(used.size(), 1));
}

// --- Results -----------------------------------------------------------------------------------------------

#ifdef VOXGRAD_WITH_CUDA

class Conv3dFirstTest : public DeviceTest {
 protected:
  // The kernels themselves, cut for so many multiprocessors; the input gradient as it is chosen.
  void run(const Conv3dCase& c, bool exact, int multiprocessors = 108, const Placement& x_place = {},
           const Placement& y_place = {}) {
    const Exec e = exec();
    Conv3dBfloat16Check(c, e, exact)
        .run(
            x_place, y_place,
            [&](View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias) {
              cuda::conv3d_forward_first_layer(y, x, weight, bias, multiprocessors, e);
            },
            [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
              conv3d_backward_input(dx, dy, weight, c.params, e);
            },
            [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
              cuda::conv3d_backward_weight_first_layer(dweight, dy, x, multiprocessors, e);
            });
  }
};
VG_ON_CUDA(Conv3dFirstTest);

// Every number of channels, rows with and without a voxel behind the last pair, extents around the edges of
// tiles: 8 and 16 rows, 31 and 63 voxels.
const Conv3dCase cases[] = {
    {{4, 16, 3, 1, 1}, 2, 3, 2, 6},  {{4, 16, 3, 1, 1}, 1, 1, 17, 32}, {{4, 16, 3, 1, 1}, 1, 2, 7, 31},
    {{4, 32, 3, 1, 1}, 1, 2, 3, 5},  {{3, 16, 3, 1, 1}, 1, 5, 1, 17},  {{2, 48, 3, 1, 1}, 1, 2, 5, 2},
    {{1, 16, 3, 1, 1}, 2, 7, 3, 1},  {{4, 16, 3, 1, 1}, 1, 1, 1, 1},   {{4, 64, 3, 1, 1}, 1, 1, 9, 3},
    {{4, 16, 3, 1, 1}, 1, 1, 2, 66},
};

TEST_P(Conv3dFirstTest, IntegersAreExact) {
  for (const Conv3dCase& c : cases) run(c, true);
}

TEST_P(Conv3dFirstTest, RandomFloatsAreWithinTolerance) {
  for (const Conv3dCase& c : cases) run(c, false);
}

// Several times around the rings of planes: cut as for a GPU of one multiprocessor.
TEST_P(Conv3dFirstTest, LongMarchesAreExact) {
  run({{4, 16, 3, 1, 1}, 1, 17, 3, 6}, true, 1);
  run({{4, 32, 3, 1, 1}, 2, 9, 2, 3}, true, 1);
}

TEST_P(Conv3dFirstTest, EveryPlacementIsExact) {
  for (const Conv3dCase& c :
       {Conv3dCase{{4, 16, 3, 1, 1}, 2, 2, 3, 6}, Conv3dCase{{3, 16, 3, 1, 1}, 1, 2, 3, 3}}) {
    for (const Placement& x : bfloat16_placements(c.params.in_channels)) {
      for (const Placement& y : {Placement{}, Placement{1, 8, 24}}) run(c, true, 108, x, y);
    }
  }
}

// The public functions choose these kernels, or others where outputs lie at other addresses.
TEST_P(Conv3dFirstTest, PublicFunctionsAreExactOnEveryPlacement) {
  const Conv3dBfloat16Check check({{4, 16, 3, 1, 1}, 1, 2, 3, 6}, exec(), true);
  for (const Placement& p : placements()) check.run(p, p);
}

#endif

}  // namespace
}  // namespace vg::test
