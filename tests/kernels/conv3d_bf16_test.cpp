#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_halo_tile.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/conv_oracle.h"
#include "support/devices.h"
#include "support/random_data.h"
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
      EXPECT_EQ(choose(volume(out), volume(in)), Conv3dAlgorithm::halo_tile) << in << "->" << out;
      EXPECT_EQ(choose(volume(out), volume(in), rtx4090), Conv3dAlgorithm::halo_tile) << in << "->" << out;
    }
  }
  for (const int64_t c : {1, 3, 4, 5, 8, 24, 33, 80, 128}) {
    EXPECT_EQ(choose(volume(16), volume(c)), Conv3dAlgorithm::direct) << c;
    EXPECT_EQ(choose(volume(c), volume(16)), Conv3dAlgorithm::direct) << c;
  }
}

TEST_F(Conv3dAlgorithmTest, OtherKernelsAreDirect) {
  for (const Conv3dParams& p : {Conv3dParams{16, 16, 1, 1, 0}, {16, 16, 3, 2, 1}, {16, 16, 3, 1, 0}})
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
    EXPECT_EQ(choose(volume(tile.out_channels), volume(tile.in_channels), limits), Conv3dAlgorithm::direct);
  }
}

TEST_F(Conv3dAlgorithmTest, WeightGradientsChooseLikewise) {
  const auto choose_wgrad = [&](int64_t out, int64_t in, const CudaLimits& limits, int stride = 1) {
    return choose_conv3d_wgrad_algorithm({in, out, 3, stride, 1}, volume(out), volume(in), limits);
  };
  for (const int64_t in : {16, 32, 48, 64}) {
    for (const int64_t out : {16, 32, 48, 64})
      EXPECT_EQ(choose_wgrad(out, in, rtx4090), Conv3dAlgorithm::halo_tile);
  }
  EXPECT_EQ(choose_wgrad(16, 24, a100), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose_wgrad(80, 16, a100), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose_wgrad(16, 16, turing), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose_wgrad(16, 16, {80, HaloWgradTile{}.shared_bytes() - 1, 108}), Conv3dAlgorithm::direct);
  EXPECT_EQ(choose_wgrad(16, 16, a100, 2), Conv3dAlgorithm::direct);
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

struct Case {
  Conv3dParams params;
  int64_t n, d, h, w;
};

std::vector<bfloat16> to_bfloat16(const std::vector<float>& values) {
  std::vector<bfloat16> result;
  for (const float v : values) result.push_back(kernels::to_bfloat16(v));
  return result;
}
std::vector<float> to_float(const std::vector<bfloat16>& values) {
  std::vector<float> result;
  for (const bfloat16 v : values) result.push_back(kernels::to_float(v));
  return result;
}
std::vector<float> rounded(const std::vector<float>& values) {
  return to_float(to_bfloat16(values));
}

// Runs the forward pass with and without bias and the gradients, and compares with the oracle on rounded
// inputs and weights.
class Check {
 public:
  Check(const Case& c, const Exec& exec, bool exact)
      : case_(c), exec_(exec), exact_(exact), oracle_(c.params, c.n, c.d, c.h, c.w) {
    x_ = rounded(data(oracle_.x().count(), 1));
    dy_ = rounded(data(oracle_.y().count(), 2));
    weight_ = data(oracle_.weights(), 3);
    bias_ = data(oracle_.y().c, 4);
    const auto rounded_weight = rounded(weight_);
    y_ = oracle_.forward(x_, rounded_weight, {});
    y_with_bias_ = oracle_.forward(x_, rounded_weight, bias_);
    dx_ = oracle_.backward_input(dy_, rounded_weight);
    // Accumulates: starts from the weights' own values.
    dweight_ = oracle_.backward_weight(dy_, x_);
    for (size_t i = 0; i < dweight_.size(); ++i) dweight_[i] += static_cast<double>(weight_[i]);
  }

  // Calls forward(y, x, weight, bias), backward_input(dx, dy, weight) and backward_weight(dweight, dy, x).
  template <class Forward, class BackwardInput, class BackwardWeight>
  void run(const Placement& x_place, const Placement& y_place, const Forward& forward,
           const BackwardInput& backward_input, const BackwardWeight& backward_weight) const {
    const Conv3dParams& p = case_.params;
    SCOPED_TRACE(::testing::Message()
                 << '[' << case_.n << ',' << case_.d << ',' << case_.h << ',' << case_.w << "] "
                 << p.in_channels << "->" << p.out_channels << " kernel " << p.kernel_size << " stride "
                 << p.stride << " padding " << p.padding << " halo " << x_place.halo << ' ' << y_place.halo
                 << " channels before " << x_place.channels_before << ' ' << y_place.channels_before);
    const DeviceKind device = exec_.device;
    const auto &xe = oracle_.x(), &ye = oracle_.y();
    const Activation<bfloat16> x(device, xe.n, xe.d, xe.h, xe.w, xe.c, to_bfloat16(x_), x_place),
        dy(device, ye.n, ye.d, ye.h, ye.w, ye.c, to_bfloat16(dy_), y_place);
    const Activation<bfloat16> y(device, ye.n, ye.d, ye.h, ye.w, ye.c, y_place),
        dx(device, xe.n, xe.d, xe.h, xe.w, xe.c, x_place);
    const Buffer<float> weight(device, weight_), bias(device, bias_);
    forward(y, x, weight.data(), bias.data());
    EXPECT_TRUE(close(y.get(), y_with_bias_, oracle_.forward_length()));
    forward(y, x, weight.data(), static_cast<const float*>(nullptr));
    EXPECT_TRUE(close(y.get(), y_, oracle_.forward_length()));
    backward_input(dx, dy, weight.data());
    EXPECT_TRUE(close(dx.get(), dx_, oracle_.backward_input_length()));
    const Buffer<float> dweight(device, weight_);
    backward_weight(dweight.data(), dy, x);
    EXPECT_TRUE(all_close(dweight.get(), dweight_,
                          exact_ ? 0 : sum_tolerance(oracle_.backward_weight_length()),
                          exact_ ? 0 : 0x1p-23));
  }

  void run(const Placement& x_place = {}, const Placement& y_place = {}) const {
    run(
        x_place, y_place,
        [&](View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias) {
          conv3d_forward(y, x, weight, bias, case_.params, exec_);
        },
        [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
          conv3d_backward_input(dx, dy, weight, case_.params, exec_);
        },
        [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
          conv3d_backward_weight(dweight, dy, x, case_.params, exec_);
        });
  }
  // On tensor cores, cut as for a GPU of one multiprocessor: in long marches.
  void run_in_long_marches() const {
    run(
        {}, {},
        [&](View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias) {
          cuda::conv3d_forward_halo_tile(y, x, weight, bias, case_.params, 1, exec_);
        },
        [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
          cuda::conv3d_backward_input_halo_tile(dx, dy, weight, case_.params, 1, exec_);
        },
        [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
          cuda::conv3d_backward_weight_halo_tile(dweight, dy, x, 1, exec_);
        });
  }
  // The same through the last resort.
  void run_direct() const {
    run(
        {}, {},
        [&](View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias) {
          cuda::conv3d_forward_direct(y, x, weight, bias, case_.params, exec_);
        },
        [&](View<bfloat16> dx, View<const bfloat16> dy, const float* weight) {
          cuda::conv3d_backward_input_direct(dx, dy, weight, nullptr, case_.params, exec_);
        },
        [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x) {
          cuda::conv3d_backward_weight_direct(dweight, dy, x, case_.params, exec_);
        });
  }

 private:
  std::vector<float> data(int64_t count, uint32_t seed) const {
    return exact_ ? integers(count, seed) : uniform(count, seed);
  }
  // Sums in float err as elsewhere; tensor cores may also truncate where they align 16 products to the
  // running sum, about sqrt(length) in magnitude: a unit in the last place for each mma.
  static double sum_tolerance(int64_t length) {
    const double l = static_cast<double>(length);
    return float_tolerance(length + 1) + l / 16 * 0x1p-23 * std::sqrt(l);
  }
  // Integers sum exactly in float, so that the result is the sum rounded once. Else the rounding of the
  // result is half a unit of 8 bits, 2^-8 of its magnitude.
  ::testing::AssertionResult close(const std::vector<bfloat16>& actual, const std::vector<double>& expected,
                                   int64_t length) const {
    if (exact_)
      return all_close(to_float(actual), rounded(std::vector<float>(expected.begin(), expected.end())), 0);
    return all_close(to_float(actual), expected, sum_tolerance(length), 0x1p-8);
  }

  Case case_;
  Exec exec_;
  bool exact_;
  ConvOracle oracle_;
  std::vector<float> x_, dy_, weight_, bias_;
  std::vector<double> y_, y_with_bias_, dx_, dweight_;
};

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
  Check({{16, 16, 3, 1, 1}, 1, 17, 3, 5}, exec(), true).run_in_long_marches();
  Check({{32, 16, 3, 1, 1}, 2, 5, 5, 3}, exec(), true).run_in_long_marches();
  Check({{64, 32, 3, 1, 1}, 1, 9, 2, 3}, exec(), true).run_in_long_marches();
}

TEST_P(Conv3dBfloat16Test, RandomFloatsAreWithinTolerance) {
  for (const Case& c : direct_cases) Check(c, exec(), false).run();
  for (const Case& c : halo_cases) Check(c, exec(), false).run();
}

TEST_P(Conv3dBfloat16Test, LastResortTakesTheSameShapes) {
  for (const Case& c : {halo_cases[0], halo_cases[6]}) {
    Check(c, exec(), true).run_direct();
    Check(c, exec(), false).run_direct();
  }
}

#endif

}  // namespace
}  // namespace vg::test
