// Convolutions of float activations on tensor cores, whose operands are rounded to TF32.
#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_tf32_tile.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"
#include "support/bfloat16_cases.h"
#include "support/conv3d_check.h"
#include "support/devices.h"
#include "support/tf32_conv_check.h"
#ifdef VOXGRAD_WITH_CUDA
#include "kernels/conv3d/conv3d_cuda.h"
#endif

#include <set>

namespace vg::test {
namespace {

using namespace vg::kernels;

// --- Choice, taps and layout, without a GPU ----------------------------------------------------------------

class Tf32ChoiceTest : public ::testing::Test {
 protected:
  static constexpr CudaLimits a100{80, 166'912, 108}, rtx4090{89, 101'376, 128}, turing{75, 65'536, 72};

  View<const float> volume(int64_t c, int64_t width = 0, int64_t first = 0) const {
    return contiguous_view(memory_, 1, 4, 5, 6, width == 0 ? c : width).channels(first, first + c);
  }
  static Conv3dAlgorithm choose(const View<const float>& out, const View<const float>& in,
                                const CudaLimits& limits = a100, const Conv3dParams& p = {0, 0, 3, 1, 1}) {
    return choose_conv3d_float_algorithm(p, out, in, true, limits);
  }

 private:
  alignas(16) float memory_[4 * 5 * 6 * 64] = {};
};

TEST_F(Tf32ChoiceTest, OnlyWhereItIsAllowed) {
  const Exec exec;
  EXPECT_FALSE(exec.allow_tf32);
  EXPECT_EQ(choose_conv3d_float_algorithm({16, 16, 3, 1, 1}, volume(16), volume(16), false, a100),
            Conv3dAlgorithm::direct);
}

TEST_F(Tf32ChoiceTest, TakesMultiplesOf4ChannelsAtMultiplesOf16Bytes) {
  for (const CudaLimits& limits : {a100, rtx4090}) {
    for (const int64_t in : {4, 8, 16, 24, 64}) {
      for (const int64_t out : {4, 8, 16, 24, 64})
        EXPECT_EQ(choose(volume(out), volume(in), limits), Conv3dAlgorithm::tf32) << in << "->" << out;
    }
  }
  for (const int64_t c : {1, 3, 5, 33}) {
    EXPECT_EQ(choose(volume(16), volume(c)), Conv3dAlgorithm::direct) << c;
    EXPECT_EQ(choose(volume(c), volume(16)), Conv3dAlgorithm::direct) << c;
  }
  EXPECT_EQ(choose(volume(16, 40, 8), volume(8, 20, 12)), Conv3dAlgorithm::tf32);
  EXPECT_EQ(choose(volume(16, 40, 2), volume(8)), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose(volume(16), volume(8, 21, 0)), Conv3dAlgorithm::direct);
}

TEST_F(Tf32ChoiceTest, TakesEveryKernelWhereTheDeviceHasIt) {
  for (const Conv3dParams& p :
       {Conv3dParams{8, 8, 1, 1, 0}, {8, 8, 3, 2, 1}, {8, 8, 3, 1, 0}, {8, 8, 2, 2, 0}}) {
    EXPECT_EQ(choose(volume(8), volume(8), a100, p), Conv3dAlgorithm::tf32);
    EXPECT_EQ(choose(volume(8), volume(8), turing, p), Conv3dAlgorithm::direct);
  }
  const int most = std::max(tf32_tile(1, 64).shared_bytes(), tf32_tile(3, 64).shared_bytes());
  EXPECT_EQ(choose(volume(8), volume(8), {80, most, 108}), Conv3dAlgorithm::tf32);
  EXPECT_EQ(choose(volume(8), volume(8), {80, most - 1, 108}), Conv3dAlgorithm::direct);
}

// The taps of all lattices together are the transpose: input z meets output z * stride + k - padding.
TEST(Tf32AxisTest, LatticesAreTheTranspose) {
  for (const auto& [kernel_size, stride, padding] :
       {std::array{3, 1, 1}, {3, 1, 0}, {3, 2, 1}, {3, 2, 0}, {2, 2, 0}, {1, 1, 0}, {1, 2, 0}}) {
    constexpr int inputs = 4;
    const int outputs = (inputs - 1) * stride - 2 * padding + kernel_size;
    std::set<std::array<int, 3>> expected, found;
    for (int z = 0; z < inputs; ++z) {
      for (int k = 0; k < kernel_size; ++k) {
        const int u = z * stride + k - padding;
        if (u >= 0 && u < outputs) expected.insert({u, z, k});
      }
    }
    for (int parity = 0; parity < stride; ++parity) {
      const Tf32Axis axis = tf32_transposed_axis(kernel_size, stride, padding, parity);
      for (int position = 0; position * stride + parity < outputs; ++position) {
        for (int i = 0; i < axis.count; ++i) {
          const int z = position + axis.first_offset + i;
          if (z >= 0 && z < inputs) found.insert({position * stride + parity, z, axis.tap(i)});
        }
      }
    }
    EXPECT_EQ(found, expected) << kernel_size << ' ' << stride << ' ' << padding;
  }
}

TEST(Tf32TileTest, EveryChannelHasItsColumn) {
  std::vector<int> used(64);
  for (int fragment = 0; fragment < 8; ++fragment) {
    for (int column = 0; column < 8; ++column) ++used.at(static_cast<size_t>(tf32_channel(fragment, column)));
  }
  EXPECT_EQ(used, std::vector<int>(64, 1));
}

TEST(Tf32TileTest, BlocksFitAMultiprocessor) {
  for (const int taps : {1, 3}) {
    for (const int columns : {16, 32, 64}) {
      EXPECT_LE(2 * (tf32_tile(taps, columns).shared_bytes() + 1024), 164 * 1024);
      EXPECT_LE(tf32_tile(taps, columns).shared_bytes(), 101'376);
    }
    EXPECT_LE(3 * (Tf32WgradTile{taps, 4, 4}.shared_bytes() + 1024), 164 * 1024);
  }
}

// Loads of 16 bytes: 8 lanes at a time, of 8 bytes: 16 lanes. Lane l takes row l % 4 and the chunk (or half
// of one) l / 4.
TEST(Tf32TileTest, WeightGradientsAreFreeOfBankConflicts) {
  for (int row = 0; row < 8; ++row) {
    for (int phase = 0; phase < 4; ++phase) {
      std::set<int> groups;
      for (int lane = phase * 8; lane < phase * 8 + 8; ++lane)
        groups.insert(tf32_wgrad_offset(8, row + lane % 4, lane / 4) / 16 % 8);
      EXPECT_EQ(groups.size(), 8u) << "row " << row << " phase " << phase;
    }
    for (int phase = 0; phase < 2; ++phase) {
      std::set<int> groups;
      for (int lane = phase * 16; lane < phase * 16 + 16; ++lane)
        groups.insert((tf32_wgrad_offset(4, row + lane % 4, lane / 8) + lane / 4 % 2 * 8) / 8 % 16);
      EXPECT_EQ(groups.size(), 16u) << "row " << row << " phase " << phase;
    }
    for (const int chunks : {4, 8}) {
      for (int chunk = 0; chunk < chunks; ++chunk)
        EXPECT_EQ(tf32_wgrad_offset(chunks, row + 4, chunk),
                  tf32_wgrad_offset(chunks, row, chunk) + 4 * chunks * 16);
    }
  }
}

// --- Results -----------------------------------------------------------------------------------------------

#ifdef VOXGRAD_WITH_CUDA

class Conv3dTf32Test : public DeviceTest {
 protected:
  // With the sums cut into `pieces`.
  void run_pieces(const Conv3dCase& c, int64_t pieces, const Placement& place = {}) {
    const Tf32Check<Conv3dParams> check(c.params, c.n, c.d, c.h, c.w, exec(), true);
    SCOPED_TRACE(::testing::Message() << pieces << " pieces");
    const Exec e = exec();
    check.run(
        place, place,
        [&](View<float> y, View<const float> x, const float* weight, const float* bias) {
          cuda::conv3d_forward_tf32(y, x, weight, bias, c.params, e, pieces);
        },
        [&](View<float> dx, View<const float> dy, const float* weight) {
          cuda::conv3d_backward_input_tf32(dx, dy, weight, nullptr, c.params, e, pieces);
        },
        [&](float* dweight, View<const float> dy, View<const float> x) {
          cuda::conv3d_backward_weight_tf32(dweight, dy, x, c.params, e, pieces);
        });
  }
  void run_all(bool exact);
};
VG_ON_CUDA(Conv3dTf32Test);

// Every tile, whole ones and parts of them, in channels; extents around the edges of tiles; every kernel.
const Conv3dCase cases[] = {
    {{16, 16, 3, 1, 1}, 2, 3, 2, 5},  {{8, 24, 3, 1, 1}, 1, 3, 17, 7},  {{24, 40, 3, 1, 1}, 1, 2, 3, 5},
    {{64, 8, 3, 1, 1}, 1, 1, 2, 3},   {{16, 72, 3, 1, 1}, 1, 1, 1, 1},  {{32, 32, 3, 1, 1}, 1, 5, 2, 17},
    {{4, 16, 3, 1, 1}, 1, 2, 3, 3},   {{16, 4, 1, 1, 0}, 1, 3, 5, 2},   {{40, 72, 1, 1, 0}, 2, 7, 3, 1},
    {{64, 64, 1, 1, 0}, 1, 2, 1, 17}, {{16, 32, 3, 2, 1}, 1, 5, 7, 3},  {{24, 8, 3, 2, 1}, 2, 2, 1, 17},
    {{32, 64, 3, 2, 1}, 1, 3, 2, 2},  {{8, 16, 3, 1, 0}, 1, 3, 5, 7},   {{8, 8, 3, 2, 0}, 1, 5, 3, 7},
    {{16, 8, 1, 2, 0}, 1, 3, 2, 5},   {{16, 16, 3, 1, 1}, 1, 2, 33, 4},
};
struct TransposedCase {
  ConvTranspose3dParams params;
  int64_t n, d, h, w;
};
const TransposedCase transposed_cases[] = {
    {{32, 16, 3, 2, 1, 1}, 1, 2, 3, 5},  {{16, 40, 3, 2, 1, 1}, 2, 1, 2, 3},
    {{8, 64, 3, 2, 1, 1}, 1, 3, 7, 1},   {{16, 8, 2, 2, 0, 0}, 1, 3, 2, 5},
    {{24, 32, 2, 2, 0, 0}, 1, 1, 1, 17},
};

void Conv3dTf32Test::run_all(bool exact) {
  for (const Conv3dCase& c : cases)
    Tf32Check<Conv3dParams>(c.params, c.n, c.d, c.h, c.w, exec(), exact).run();
  for (const TransposedCase& c : transposed_cases)
    Tf32Check<ConvTranspose3dParams>(c.params, c.n, c.d, c.h, c.w, exec(), exact).run();
}

TEST_P(Conv3dTf32Test, IntegersAreExact) {
  run_all(true);
}

TEST_P(Conv3dTf32Test, OperandsAreRoundedToNearest) {
  run_all(false);
}

TEST_P(Conv3dTf32Test, PiecesAreExact) {
  for (const int64_t pieces : {1, 2, 5}) {
    run_pieces({{24, 16, 3, 1, 1}, 1, 2, 3, 3}, pieces);
    run_pieces({{40, 24, 1, 1, 0}, 1, 2, 3, 3}, pieces);
    run_pieces({{16, 40, 3, 2, 1}, 1, 3, 4, 5}, pieces);
    run_pieces({{16, 8, 3, 1, 0}, 1, 3, 5, 4}, pieces);
  }
  // Several times around the ring of stages of the weight gradient, which cuts positions; from row to row,
  // plane to plane and sample to sample of views with gaps.
  for (const int64_t pieces : {1, 2}) {
    for (const Placement& place : {Placement{}, Placement{1, 4, 8}}) {
      run_pieces({{16, 32, 3, 1, 1}, 2, 3, 17, 5}, pieces, place);
      run_pieces({{8, 16, 3, 2, 1}, 2, 5, 17, 11}, pieces, place);
    }
  }
}

// Channel slices that tensor cores take and such that fall back, with and without a halo.
TEST_P(Conv3dTf32Test, EveryPlacementIsExact) {
  const Tf32Check<Conv3dParams> check({16, 8, 3, 1, 1}, 2, 2, 3, 3, exec(), true),
      strided({8, 16, 3, 2, 1}, 1, 3, 2, 5, exec(), true);
  const Tf32Check<ConvTranspose3dParams> transposed({16, 8, 3, 2, 1, 1}, 1, 2, 3, 2, exec(), true);
  std::vector<Placement> places = placements();
  places.push_back({1, 4, 8});
  for (const Placement& p : places) {
    check.run(p, p);
    strided.run(p, p);
    transposed.run(p, p);
  }
  check.run({0, 4, 12}, {1, 8, 4});
}

// Without permission nothing is rounded.
TEST_P(Conv3dTf32Test, IsNotTakenUnasked) {
  Conv3dCheck({{16, 16, 3, 1, 1}, 1, 2, 3, 5}, device(), exec(), false).run({}, {});
}

#endif

}  // namespace
}  // namespace vg::test
