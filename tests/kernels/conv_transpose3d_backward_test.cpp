// Both gradients of a transposed convolution in one call, from a gradient that is made on the way, against
// the oracle.
#include <ostream>

#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_strided_tile.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"
#include "support/bfloat16_cases.h"
#include "support/bfloat16_conv_check.h"
#include "support/norm_on_device.h"
#ifdef VOXGRAD_WITH_CUDA
#include "kernels/conv3d/conv3d_cuda.h"
#endif

namespace vg::test {
namespace {

using namespace vg::kernels;

// --- The choice of an algorithm, without a GPU -------------------------------------------------------------

constexpr CudaLimits a100{80, 166'912, 108}, rtx4090{89, 101'376, 128}, turing{75, 166'912, 72};
constexpr Conv3dParams convolution{16, 32, 3, 2, 1};

View<bfloat16> volume(int64_t c, int64_t stride = 0) {
  alignas(16) static bfloat16 memory[4 * 64] = {};
  return contiguous_view(memory, 1, 1, 2, 2, stride == 0 ? c : stride).channels(0, c);
}
NormInputGradient source(const View<bfloat16>& dy, const View<bfloat16>& y) {
  return {dy, y, {}, nullptr};
}
bool applies(int64_t in, int64_t out, const CudaLimits& limits, const Conv3dParams& p = convolution) {
  return transposed_gradients_apply(p, volume(in), source(volume(out), volume(out)), volume(in), limits);
}

TEST(ConvTranspose3dBackwardChoiceTest, OnePassIsFrom32To16Channels) {
  EXPECT_TRUE(conv_transpose3d_makes_both_gradients({32, 16, 3, 2, 1, 1}));
  for (const ConvTranspose3dParams& p : {ConvTranspose3dParams{32, 16, 2, 2, 0, 0},
                                         {16, 16, 3, 2, 1, 1},
                                         {32, 32, 3, 2, 1, 1},
                                         {64, 16, 3, 2, 1, 1}})
    EXPECT_FALSE(conv_transpose3d_makes_both_gradients(p)) << p.in_channels << "->" << p.out_channels;
  EXPECT_TRUE(applies(32, 16, a100));
  EXPECT_FALSE(applies(32, 16, rtx4090));
  EXPECT_FALSE(applies(32, 16, turing));
  EXPECT_FALSE(applies(32, 16, a100, {16, 32, 3, 1, 1}));
  EXPECT_FALSE(applies(32, 32, a100));
  EXPECT_FALSE(applies(16, 16, a100));
  // Voxels at multiples of 16 bytes, all of them.
  const View<bfloat16> coarse = volume(32), fine = volume(16), coarse_off = volume(32, 36),
                       fine_off = volume(16, 20);
  EXPECT_FALSE(transposed_gradients_apply(convolution, coarse_off, source(fine, fine), coarse, a100));
  EXPECT_FALSE(transposed_gradients_apply(convolution, coarse, source(fine_off, fine), coarse, a100));
  EXPECT_FALSE(transposed_gradients_apply(convolution, coarse, source(fine, fine_off), coarse, a100));
  EXPECT_FALSE(transposed_gradients_apply(convolution, coarse, source(fine, fine), coarse_off, a100));
  constexpr int needed = TransposedGradientsTile::shared_bytes;
  EXPECT_TRUE(applies(32, 16, {80, needed, 108}));
  EXPECT_FALSE(applies(32, 16, {80, needed - 1, 108}));
}

// --- Results -----------------------------------------------------------------------------------------------

#ifdef VOXGRAD_WITH_CUDA

struct Case {
  int64_t n = 1, d = 2, h = 3, w = 5;  // of x
  NormCase norm = {};
  Placement place_of_x = {}, place_of_dx = {}, place_of_dy = {}, place_of_y = {};
  int64_t in = 32, out = 16;
  bool scratch = false;     // dy has no memory of its own
  int multiprocessors = 0;  // if not 0, one pass, cut for so many

  [[nodiscard]] bool in_one_pass() const {
    const auto aligned = [](const Placement& p) {
      return p.channels_before % 8 == 0 && p.channels_after % 8 == 0;
    };
    return in == 32 && out == 16 && aligned(place_of_x) && aligned(place_of_dx) && aligned(place_of_dy) &&
           aligned(place_of_y);
  }
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << '[' << c.n << ',' << c.d << ',' << c.h << ',' << c.w << "] " << c.in << "->" << c.out
             << " activation " << static_cast<int>(c.norm.activation) << " instances " << c.norm.per_instance
             << " multiprocessors " << c.multiprocessors;
}

using ConvTranspose3dBackwardTest = DeviceTest;
VG_ON_CUDA(ConvTranspose3dBackwardTest);

class Check {
 public:
  Check(const Case& c, const Exec& exec, bool exact)
      : case_(c),
        exec_(exec),
        exact_(exact),
        params_{c.in, c.out, 3, 2, 1, 1},
        oracle_(params_, c.n, c.d, c.h, c.w),
        norm_(c.norm, exec.device, c.n, c.out, exact, 10),
        weight_(data(oracle_.weights(), 1)),
        x_(rounded(data(oracle_.x().count(), 2))),
        dy_(rounded(data(oracle_.y().count(), 3))),
        y_(rounded(data(oracle_.y().count(), 4))) {}

  void run() const {
    SCOPED_TRACE(::testing::Message() << case_);
    const std::vector<float> g = gradient();
    const std::vector<double> dx = oracle_.backward_input(g, rounded(weight_));
    std::vector<double> dweight = oracle_.backward_weight(g, x_);
    for (size_t i = 0; i < dweight.size(); ++i) dweight[i] += static_cast<double>(weight_[i]);
    const auto tolerance = [&](int64_t length) {
      const double l = static_cast<double>(length);
      return exact_ ? 0 : 4 * (float_tolerance(length + 1) + l / 16 * 0x1p-23 * std::sqrt(l));
    };
    const Results actual = backward();
    EXPECT_TRUE(all_close(actual.dx, rounded(std::vector<float>(dx.begin(), dx.end())),
                          tolerance(oracle_.backward_input_length()), exact_ ? 0 : 0x1p-7));
    EXPECT_TRUE(all_close(actual.dweight, dweight, tolerance(oracle_.backward_weight_length()),
                          exact_ ? 0 : 0x1p-22));
    const Results again = backward();
    EXPECT_EQ(again.dx, actual.dx);
    EXPECT_EQ(again.dweight, actual.dweight);
  }

 private:
  struct Results {
    std::vector<float> dx, dweight;
  };

  [[nodiscard]] std::vector<float> data(int64_t count, uint32_t seed) const {
    return exact_ ? integers(count, seed, 2) : uniform(count, seed);
  }
  [[nodiscard]] Activation<bfloat16> on_device(const ConvOracle::Extents& e, const std::vector<float>& values,
                                               const Placement& place = {}) const {
    return {exec_.device, e.n, e.d, e.h, e.w, e.c, to_bfloat16(values), place};
  }
  // What the norm's backward does in a pass of its own, which the kernel promises to the bit.
  [[nodiscard]] std::vector<float> gradient() const {
    const Activation<bfloat16> dy = on_device(oracle_.y(), dy_), y = on_device(oracle_.y(), y_);
    norm3d_backward_input(dy.view(), dy, y, norm_.norm(), norm_.means(), exec_);
    return to_float(dy.get());
  }
  [[nodiscard]] Results backward() const {
    const Case& c = case_;
    const ConvOracle::Extents& xe = oracle_.x();
    const Activation<bfloat16> x = on_device(xe, x_, c.place_of_x),
                               dy = on_device(oracle_.y(), dy_, c.place_of_dy),
                               y = on_device(oracle_.y(), y_, c.place_of_y),
                               dx(exec_.device, xe.n, xe.d, xe.h, xe.w, xe.c, c.place_of_dx);
    const Buffer<float> weight(exec_.device, weight_), dweight(exec_.device, weight_);
    const NormInputGradient source{dy, y, norm_.norm(), norm_.means()};
    if (c.multiprocessors > 0) {
      cuda::conv_transpose3d_backward_strided(dx.view(), dweight.data(), source, x, weight.data(),
                                              c.multiprocessors, exec_);
    } else {
      conv_transpose3d_backward(dx.view(), dweight.data(), c.scratch ? View<bfloat16>() : dy.view(), source,
                                x, weight.data(), params_, exec_);
    }
    if (c.in_one_pass() || c.scratch) {
      EXPECT_EQ(to_float(dy.get()), dy_) << "what was made has been stored";
    }
    return {to_float(dx.get()), dweight.get()};
  }

  Case case_;
  Exec exec_;
  bool exact_;
  ConvTranspose3dParams params_;
  ConvOracle oracle_;
  NormOnDevice norm_;
  std::vector<float> weight_, x_, dy_, y_;
};

// Extents around the edges of tiles (16 x 8 coarse voxels), everything that can be left out.
std::vector<Case> cases() {
  using enum ActivationKind;
  return {{.n = 2, .d = 3, .h = 2, .w = 5},
          {.n = 1, .d = 2, .h = 17, .w = 9, .norm = {.activation = leaky_relu}},
          {.n = 1, .d = 1, .h = 16, .w = 8, .norm = {.activation = identity, .affine = false}},
          {.n = 1, .d = 7, .h = 1, .w = 2, .norm = {.activation = prelu}},
          {.n = 2, .d = 2, .h = 3, .w = 3, .norm = {.per_instance = true}},
          {.n = 1, .d = 1, .h = 1, .w = 1, .norm = {.fixed = true}}};
}

TEST_P(ConvTranspose3dBackwardTest, IntegersAreExact) {
  for (const Case& c : cases()) Check(c, exec(), true).run();
}

TEST_P(ConvTranspose3dBackwardTest, RandomFloatsAreWithinTolerance) {
  for (const Case& c : cases()) Check(c, exec(), false).run();
}

// Channel slices and halos; some of them cannot be taken in one pass.
TEST_P(ConvTranspose3dBackwardTest, IntegersAreExactOnEveryPlacement) {
  for (const Placement& p : placements())
    Check({.place_of_x = p, .place_of_dx = p, .place_of_dy = p, .place_of_y = p}, exec(), true).run();
  Check({.place_of_x = {0, 8, 24}, .place_of_dy = {1, 16, 8}, .place_of_y = {0, 16, 0}}, exec(), true).run();
}

TEST_P(ConvTranspose3dBackwardTest, OthersNeedSeveralPasses) {
  Check({.place_of_dy = {1, 4, 0}}, exec(), true).run();
  Check({.place_of_y = {0, 0, 4}, .scratch = true}, exec(), true).run();
  Check({.in = 16, .out = 32}, exec(), true).run();
  Check({.in = 5, .out = 3, .scratch = true}, exec(), true).run();
}

// Several times around the rings of planes.
TEST_P(ConvTranspose3dBackwardTest, LongMarchesAreExact) {
  Check({.n = 2, .d = 9, .h = 2, .w = 3, .multiprocessors = 1}, exec(), true).run();
}

TEST_P(ConvTranspose3dBackwardTest, WrongArgumentsAreErrors) {
  const Buffer<bfloat16> memory(device(), 8 * 32);
  const Buffer<float> values(device(), 16 * 32 * 27);
  const View<bfloat16> x = contiguous_view(memory.data(), 1, 1, 1, 1, 32),
                       dy = contiguous_view(memory.data(), 1, 2, 2, 2, 16);
  const InputNorm norm{.mean = values.data(), .variance = values.data()};
  const auto backward = [&](const View<bfloat16>& dx, const NormInputGradient& source, float* dweight) {
    conv_transpose3d_backward(dx, dweight, dy, source, x, values.data(), {32, 16, 3, 2, 1, 1}, exec());
  };
  EXPECT_THROW(backward(x, {dy, dy, norm, values.data()}, nullptr), std::invalid_argument);
  EXPECT_THROW(backward(dy, {dy, dy, norm, values.data()}, values.data()), std::invalid_argument);
  EXPECT_THROW(backward(x, {dy, x, norm, values.data()}, values.data()), std::invalid_argument);
  EXPECT_THROW(backward(x, {x, x, norm, values.data()}, values.data()), std::invalid_argument);
  InputNorm later = norm, sloped = norm;
  later.first_channel = 8;
  sloped.slope = values.data();
  EXPECT_THROW(backward(x, {dy, dy, later, values.data()}, values.data()), std::invalid_argument);
  EXPECT_THROW(backward(x, {dy, dy, sloped, values.data()}, values.data()), std::invalid_argument);
}

#endif

}  // namespace
}  // namespace vg::test
