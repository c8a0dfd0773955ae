// Convolutions of float activations on tensor cores, whose operands are rounded to TF32.
#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_tf32_tile.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"
#include "support/bfloat16_cases.h"
#include "support/conv3d_check.h"
#include "support/devices.h"
#ifdef VOXGRAD_WITH_CUDA
#include "kernels/conv3d/conv3d_cuda.h"
#endif

#include <bit>
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

// To 10 bits of mantissa, nearest, ties away from zero, as PTX's cvt.rna.tf32.f32.
float rounded(float value) {
  return std::bit_cast<float>((std::bit_cast<uint32_t>(value) + 0x1000u) & 0xFFFFE000u);
}
std::vector<float> rounded(std::vector<float> values) {
  for (float& value : values) value = rounded(value);
  return values;
}

// The functions of a convolution, plain or transposed, on one case against the oracle on rounded operands.
template <class Params>
class Tf32Check {
 public:
  Tf32Check(const Params& params, int64_t n, int64_t d, int64_t h, int64_t w, Exec exec, bool exact)
      : params_(params), exec_(exec), exact_(exact), oracle_(params, n, d, h, w) {
    exec_.allow_tf32 = true;
    x_ = data(oracle_.x().count(), 1);
    dy_ = data(oracle_.y().count(), 2);
    weight_ = data(oracle_.weights(), 3);
    bias_ = data(oracle_.y().c, 4);
    y_ = oracle_.forward(rounded(x_), rounded(weight_), {});
    dx_ = oracle_.backward_input(rounded(dy_), rounded(weight_));
    dweight_ = oracle_.backward_weight(rounded(dy_), rounded(x_));
    // Accumulates: starts from the weights' own values.
    for (size_t i = 0; i < dweight_.size(); ++i) dweight_[i] += static_cast<double>(weight_[i]);
    y_with_bias_ = y_;
    for (size_t i = 0; i < y_.size(); ++i) y_with_bias_[i] += static_cast<double>(bias_[i % bias_.size()]);
  }

  template <class Forward, class BackwardInput, class BackwardWeight>
  void run(const Placement& x_place, const Placement& y_place, const Forward& forward,
           const BackwardInput& backward_input, const BackwardWeight& backward_weight) const {
    const auto &xe = oracle_.x(), &ye = oracle_.y();
    SCOPED_TRACE(::testing::Message()
                 << '[' << xe.n << ',' << xe.d << ',' << xe.h << ',' << xe.w << "] " << params_.in_channels
                 << "->" << params_.out_channels << " kernel " << params_.kernel_size << " stride "
                 << params_.stride << " padding " << params_.padding << " halo " << x_place.halo << ' '
                 << y_place.halo << " channels before " << x_place.channels_before << ' '
                 << y_place.channels_before);
    const DeviceKind device = exec_.device;
    const Activation<float> x(device, xe.n, xe.d, xe.h, xe.w, xe.c, x_, x_place),
        dy(device, ye.n, ye.d, ye.h, ye.w, ye.c, dy_, y_place);
    const Activation<float> y(device, ye.n, ye.d, ye.h, ye.w, ye.c, y_place),
        dx(device, xe.n, xe.d, xe.h, xe.w, xe.c, x_place);
    const Buffer<float> weight(device, weight_), bias(device, bias_);
    forward(y.view(), x, weight.data(), bias.data());
    EXPECT_TRUE(close(y.get(), y_with_bias_, oracle_.forward_length()));
    forward(y.view(), x, weight.data(), static_cast<const float*>(nullptr));
    EXPECT_TRUE(close(y.get(), y_, oracle_.forward_length()));
    backward_input(dx.view(), dy, weight.data());
    EXPECT_TRUE(close(dx.get(), dx_, oracle_.backward_input_length()));
    const Buffer<float> dweight(device, weight_);
    backward_weight(dweight.data(), dy, x);
    EXPECT_TRUE(close(dweight.get(), dweight_, oracle_.backward_weight_length()));
  }
  /// The public functions.
  void run(const Placement& x_place = {}, const Placement& y_place = {}) const;

  const Params& params() const { return params_; }
  const Exec& exec() const { return exec_; }

 private:
  std::vector<float> data(int64_t count, uint32_t seed) const {
    return exact_ ? integers(count, seed) : uniform(count, seed);
  }
  // As for bfloat16 (bfloat16_conv_check.h): tensor cores may truncate where they align 8 products to the
  // running sum.
  ::testing::AssertionResult close(const std::vector<float>& actual, const std::vector<double>& expected,
                                   int64_t length) const {
    const double l = static_cast<double>(length),
                 tolerance = float_tolerance(length + 1) + l / 8 * 0x1p-23 * std::sqrt(l);
    return all_close(actual, expected, exact_ ? 0 : tolerance, exact_ ? 0 : 0x1p-23);
  }

  Params params_;
  Exec exec_;
  bool exact_;
  ConvOracle oracle_;
  std::vector<float> x_, dy_, weight_, bias_;
  std::vector<double> y_, y_with_bias_, dx_, dweight_;
};

template <>
void Tf32Check<Conv3dParams>::run(const Placement& x_place, const Placement& y_place) const {
  run(
      x_place, y_place,
      [&](View<float> y, View<const float> x, const float* weight, const float* bias) {
        conv3d_forward(y, x, weight, bias, params(), exec());
      },
      [&](View<float> dx, View<const float> dy, const float* weight) {
        conv3d_backward_input(dx, dy, weight, params(), exec());
      },
      [&](float* dweight, View<const float> dy, View<const float> x) {
        conv3d_backward_weight(dweight, dy, x, params(), exec());
      });
}

template <>
void Tf32Check<ConvTranspose3dParams>::run(const Placement& x_place, const Placement& y_place) const {
  run(
      x_place, y_place,
      [&](View<float> y, View<const float> x, const float* weight, const float* bias) {
        conv_transpose3d_forward(y, x, weight, bias, params(), exec());
      },
      [&](View<float> dx, View<const float> dy, const float* weight) {
        conv_transpose3d_backward_input(dx, dy, weight, params(), exec());
      },
      [&](float* dweight, View<const float> dy, View<const float> x) {
        conv_transpose3d_backward_weight(dweight, dy, x, params(), exec());
      });
}

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
