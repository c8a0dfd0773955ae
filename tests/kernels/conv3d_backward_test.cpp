// Both gradients of a convolution at stride 2 in one call, from a gradient that is made on the way, against
// the oracle and against separate passes.
#include <ostream>

#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_strided_tile.h"
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

constexpr CudaLimits a100{80, 166'912, 108}, rtx4090{89, 101'376, 128}, turing{75, 65'536, 72};
constexpr Conv3dParams params{16, 32, 3, 2, 1};

View<bfloat16> volume(int64_t c, int64_t stride = 0) {
  alignas(16) static bfloat16 memory[4 * 64] = {};
  return contiguous_view(memory, 1, 1, 2, 2, stride == 0 ? c : stride).channels(0, c);
}
bool applies(int64_t in, int64_t out, const CudaLimits& limits, const Conv3dParams& p = params) {
  return strided_gradients_apply(p, volume(in), volume(out), volume(in), limits);
}

TEST(Conv3dBackwardChoiceTest, OnePassIsForStride2From16To32Channels) {
  EXPECT_TRUE(conv3d_makes_both_gradients(params));
  EXPECT_TRUE(applies(16, 32, a100));
  EXPECT_TRUE(applies(16, 32, rtx4090));
  EXPECT_FALSE(applies(16, 32, turing));
  EXPECT_FALSE(applies(16, 32, a100, {16, 32, 3, 2, 0}));
  for (const Conv3dParams& p : {Conv3dParams{16, 32, 3, 1, 1},
                                {16, 32, 1, 2, 0},
                                {16, 32, 3, 2, 0},
                                {16, 16, 3, 2, 1},
                                {32, 32, 3, 2, 1},
                                {16, 64, 3, 2, 1}})
    EXPECT_FALSE(conv3d_makes_both_gradients(p)) << p.in_channels << "->" << p.out_channels;
  EXPECT_FALSE(applies(16, 48, a100));
  EXPECT_FALSE(applies(32, 32, a100));
  // Voxels at multiples of 16 bytes, all of them.
  EXPECT_FALSE(strided_gradients_apply(params, volume(16, 20), volume(32), volume(16), a100));
  EXPECT_FALSE(strided_gradients_apply(params, volume(16), volume(32), volume(16, 20), a100));
  EXPECT_FALSE(strided_gradients_apply(params, volume(16), volume(32, 36), volume(16), a100));
  constexpr int needed = StridedGradientsTile::shared_bytes;
  EXPECT_TRUE(applies(16, 32, {80, needed, 108}));
  EXPECT_FALSE(applies(16, 32, {80, needed - 1, 108}));
}

TEST(Conv3dBackwardChoiceTest, ABlockFitsWithTheNormsParameters) {
  EXPECT_LE(StridedGradientsTile::shared_bytes + 1024 + 1024, 100 * 1024);
}

// --- Results -----------------------------------------------------------------------------------------------

#ifdef VOXGRAD_WITH_CUDA

struct Case {
  int64_t n = 1, d = 2, h = 3, w = 5;
  ActivationKind activation = ActivationKind::relu;  // of the norm behind
  bool per_instance = false, affine = true, fixed = false;
  bool norm_of_x = true, add = true, sums = true;
  Placement place_of_x = {}, place_of_dx = {}, place_of_dy = {}, place_of_y = {};
  int64_t in = 16, out = 32;
  ActivationKind activation_of_x = ActivationKind::relu;
  bool instances_of_x = false;
  bool scratch = false;     // dy is not wanted where it is not needed
  int multiprocessors = 0;  // if not 0, one pass, cut for so many

  // Whether it is made in one pass, sums being those of dx before it is rounded.
  bool in_one_pass() const {
    const auto aligned = [](const Placement& p) {
      return p.channels_before % 8 == 0 && p.channels_after % 8 == 0;
    };
    return in == 16 && out == 32 && aligned(place_of_x) && aligned(place_of_dx) && aligned(place_of_dy) &&
           place_of_dy.halo == place_of_y.halo && place_of_dy.channels_before == place_of_y.channels_before &&
           place_of_dy.channels_after == place_of_y.channels_after;
  }
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << '[' << c.n << ',' << c.d << ',' << c.h << ',' << c.w << "] " << c.in << "->" << c.out
             << " activations " << static_cast<int>(c.activation) << ' '
             << static_cast<int>(c.activation_of_x) << " instances " << c.per_instance << c.instances_of_x
             << " norm of x " << c.norm_of_x << " add " << c.add << " sums " << c.sums << " multiprocessors "
             << c.multiprocessors;
}

using Conv3dBackwardTest = DeviceTest;
VG_ON_CUDA(Conv3dBackwardTest);

struct Results {
  std::vector<float> dx, dweight, sums;
};

class Check {
 public:
  Check(const Case& c, const Exec& exec, bool exact)
      : case_(c),
        exec_(exec),
        exact_(exact),
        params_{c.in, c.out, 3, 2, 1},
        oracle_(params_, c.n, c.d, c.h, c.w),
        behind_({c.activation, c.per_instance, c.affine, c.fixed}, exec.device, c.n, c.out, exact, 10),
        before_({c.activation_of_x, c.instances_of_x, c.affine}, exec.device, c.n, c.in, exact, 20),
        weight_(data(oracle_.weights(), 1)),
        x_(rounded(data(oracle_.x().count(), 2))),
        dx_(rounded(data(oracle_.x().count(), 3))),
        dy_(rounded(data(oracle_.y().count(), 4))),
        y_(rounded(data(oracle_.y().count(), 5))) {}

  void run() const {
    SCOPED_TRACE(::testing::Message() << case_);
    const Results actual = backward(), expected = separately();
    const auto lengths = [&](int64_t length) {
      const double l = static_cast<double>(length);
      return exact_ ? 0 : 4 * (float_tolerance(length + 1) + l / 16 * 0x1p-23 * std::sqrt(l));
    };
    EXPECT_TRUE(
        all_close(actual.dx, expected.dx, lengths(oracle_.backward_input_length()), exact_ ? 0 : 0x1p-8));
    EXPECT_TRUE(all_close(actual.dweight, expected.dweight, lengths(oracle_.backward_weight_length()),
                          exact_ ? 0 : 0x1p-22));
    if (!case_.sums) return;
    // Of sums before they are rounded, or after.
    const double values = static_cast<double>(oracle_.x().count() / case_.in);
    EXPECT_TRUE(all_close(actual.sums, expected.sums, exact_ ? 0 : 0x1p-8 * 4 * std::sqrt(values),
                          exact_ ? 0 : 1e-5));
    const Results again = backward();
    EXPECT_EQ(again.dx, actual.dx);
    EXPECT_EQ(again.dweight, actual.dweight);
    EXPECT_EQ(again.sums, actual.sums);
  }

 private:
  std::vector<float> data(int64_t count, uint32_t seed) const {
    return exact_ ? integers(count, seed, 2) : uniform(count, seed);
  }
  Activation<bfloat16> on_device(const ConvOracle::Extents& e, const std::vector<float>& values,
                                 const Placement& place = {}) const {
    return {exec_.device, e.n, e.d, e.h, e.w, e.c, to_bfloat16(values), place};
  }
  int64_t groups_of_x() const { return case_.instances_of_x ? case_.n : 1; }

  Results backward() const {
    const Case& c = case_;
    const Activation<bfloat16> x = on_device(oracle_.x(), x_, c.place_of_x),
                               dx = on_device(oracle_.x(), dx_, c.place_of_dx),
                               dy = on_device(oracle_.y(), dy_, c.place_of_dy),
                               y = on_device(oracle_.y(), y_, c.place_of_y);
    const Buffer<float> weight(exec_.device, weight_), dweight(exec_.device, weight_),
        sums(exec_.device, 2 * groups_of_x() * c.in);
    const NormInputGradient source{dy, y, behind_.norm(), behind_.means()};
    const InputNorm norm = before_.norm();
    const InputGradient of_x{dx, c.add, c.sums ? sums.data() : nullptr};
    const InputNorm* const of = c.norm_of_x ? &norm : nullptr;
    if (c.multiprocessors > 0) {
      cuda::conv3d_backward_strided(of_x, dweight.data(), source, x, of, weight.data(), c.multiprocessors,
                                    exec_);
    } else {
      conv3d_backward(of_x, dweight.data(), c.scratch ? View<bfloat16>() : dy.view(), source, x, of,
                      weight.data(), params_, exec_);
    }
    if (c.in_one_pass()) {
      EXPECT_EQ(to_float(dy.get()), dy_) << "what was made has been stored";
    }
    return {to_float(dx.get()), dweight.get(), c.sums ? sums.get() : std::vector<float>()};
  }

  // What norms do in passes of their own (which the kernel promises to the bit), what the convolution does by
  // the oracle.
  Results separately() const {
    const Case& c = case_;
    const Activation<bfloat16> x = on_device(oracle_.x(), x_), dy = on_device(oracle_.y(), dy_),
                               y = on_device(oracle_.y(), y_), normed = on_device(oracle_.x(), x_);
    norm3d_backward_input(dy.view(), dy, y, behind_.norm(), behind_.means(), exec_);
    const InputNorm norm = before_.norm();
    if (c.norm_of_x)
      norm3d_apply(normed.view(), x, norm.mean, norm.variance, norm.gamma, norm.beta, norm.slope, norm.params,
                   exec_);
    const std::vector<float> g = to_float(dy.get());
    const std::vector<double> from_oracle = oracle_.backward_input(g, rounded(weight_)),
                              weights = oracle_.backward_weight(g, to_float(normed.get()));
    Results results{dx_, weight_, {}};
    for (size_t i = 0; i < results.dweight.size(); ++i)
      results.dweight[i] = static_cast<float>(static_cast<double>(weight_[i]) + weights[i]);
    for (size_t i = 0; i < dx_.size(); ++i)
      results.dx[i] = static_cast<float>(from_oracle[i] + (c.add ? static_cast<double>(dx_[i]) : 0));
    const std::vector<float> before = results.dx;
    results.dx = rounded(results.dx);
    if (c.sums) results.sums = sums_of(c.in_one_pass() ? before : results.dx);
    return results;
  }

  // Naive, in double.
  std::vector<float> sums_of(const std::vector<float>& dx) const {
    const InputNorm norm = before_.norm();
    const auto host = [&](const float* from, size_t count) {
      std::vector<float> values(count, 0);
      if (from != nullptr)
        copy_memory(values.data(), DeviceKind::cpu, from, exec_.device, count * sizeof(float), nullptr);
      return values;
    };
    const auto channels = static_cast<size_t>(case_.in), groups = static_cast<size_t>(groups_of_x());
    const std::vector<float> mean = host(norm.mean, groups * channels),
                             variance = host(norm.variance, groups * channels),
                             gamma = host(norm.gamma, channels), beta = host(norm.beta, channels);
    std::vector<double> sums(2 * groups * channels, 0);
    const size_t of_sample = dx.size() / static_cast<size_t>(case_.n);
    for (size_t i = 0; i < dx.size(); ++i) {
      const size_t channel = i % channels, group = (groups > 1 ? i / of_sample : 0) * channels + channel;
      const double centred = double{x_[i]} - double{mean[group]},
                   scale = (norm.gamma != nullptr ? double{gamma[channel]} : 1) /
                           std::sqrt(double{variance[group]} + double{norm.params.eps}),
                   v = centred * scale + double{beta[channel]},
                   slope = norm.params.activation.kind == ActivationKind::relu         ? 0
                           : norm.params.activation.kind == ActivationKind::leaky_relu ? 2
                                                                                       : 1,
                   dv = (v <= 0 ? slope : 1) * double{dx[i]};
      sums[2 * group] += dv;
      sums[2 * group + 1] += dv * centred;
    }
    return {sums.begin(), sums.end()};
  }

  Case case_;
  Exec exec_;
  bool exact_;
  Conv3dParams params_;
  ConvOracle oracle_;
  NormOnDevice behind_, before_;
  std::vector<float> weight_, x_, dx_, dy_, y_;
};

// Extents around the edges of tiles (12 x 8 coarse voxels), everything that can be left out.
std::vector<Case> cases() {
  using enum ActivationKind;
  return {{.n = 2, .d = 3, .h = 2, .w = 5},
          {.n = 1, .d = 5, .h = 27, .w = 17, .activation = leaky_relu},
          {.n = 1, .d = 2, .h = 25, .w = 16, .activation = identity, .norm_of_x = false, .sums = false},
          {.n = 1, .d = 17, .h = 1, .w = 2, .add = false},
          {.n = 1, .d = 1, .h = 24, .w = 7, .affine = false, .sums = false},
          {.n = 2,
           .d = 4,
           .h = 3,
           .w = 3,
           .per_instance = true,
           .activation_of_x = leaky_relu,
           .instances_of_x = true},
          {.n = 1, .d = 1, .h = 1, .w = 1, .activation = prelu, .fixed = true, .add = false, .sums = false},
          {.n = 1, .d = 2, .h = 2, .w = 33, .sums = false, .activation_of_x = prelu}};
}

TEST_P(Conv3dBackwardTest, IntegersAreExact) {
  for (const Case& c : cases()) Check(c, exec(), true).run();
}

TEST_P(Conv3dBackwardTest, RandomFloatsAreWithinTolerance) {
  for (const Case& c : cases()) Check(c, exec(), false).run();
}

// Channel slices and halos.
TEST_P(Conv3dBackwardTest, IntegersAreExactOnEveryPlacement) {
  for (const Placement& p : {Placement{1, 0, 0}, {0, 16, 0}, {1, 8, 16}}) {
    Check({.place_of_x = p, .place_of_dx = p, .place_of_dy = p, .place_of_y = p}, exec(), true).run();
    Check({.place_of_dx = p}, exec(), true).run();
  }
  Check({.place_of_x = {0, 8, 24}, .place_of_dy = {1, 16, 8}, .place_of_y = {1, 16, 8}}, exec(), true).run();
}

// Voxels that lie as the pass cannot take them, and other channels.
TEST_P(Conv3dBackwardTest, OthersNeedSeveralPasses) {
  Check({.place_of_dy = {1, 0, 0}}, exec(), true).run();
  Check({.add = false, .place_of_y = {0, 32, 0}, .scratch = true}, exec(), true).run();
  Check({.place_of_dx = {1, 3, 2}}, exec(), true).run();
  Check({.in = 5, .out = 3, .scratch = true}, exec(), true).run();
}

// Several times around the rings of planes.
TEST_P(Conv3dBackwardTest, LongMarchesAreExact) {
  Check({.n = 2, .d = 15, .h = 3, .w = 4, .multiprocessors = 1}, exec(), true).run();
  Check({.d = 8, .h = 2, .w = 3, .norm_of_x = false, .sums = false, .multiprocessors = 1}, exec(), true)
      .run();
}

TEST_P(Conv3dBackwardTest, WrongArgumentsAreErrors) {
  const Buffer<bfloat16> memory(device(), 64);
  const Buffer<float> values(device(), 16 * 32 * 27);
  const View<bfloat16> x = contiguous_view(memory.data(), 1, 1, 1, 1, 16),
                       dy = contiguous_view(memory.data(), 1, 1, 1, 1, 32);
  const InputNorm norm{.mean = values.data(), .variance = values.data()};
  const auto backward = [&](const InputGradient& of_x, const NormInputGradient& source, const InputNorm* of,
                            float* dweight) {
    conv3d_backward(of_x, dweight, dy, source, x, of, values.data(), params, exec());
  };
  const NormInputGradient source{dy, dy, norm, values.data()};
  const InputGradient of_x{x, false, values.data()};
  EXPECT_THROW(backward(of_x, source, &norm, nullptr), std::invalid_argument);
  EXPECT_THROW(backward({dy, false, nullptr}, source, &norm, values.data()), std::invalid_argument);
  EXPECT_THROW(backward(of_x, source, nullptr, values.data()), std::invalid_argument);  // sums of no norm
  EXPECT_THROW(backward(of_x, {dy, x, norm, values.data()}, &norm, values.data()), std::invalid_argument);
  InputNorm later = norm, prelu = norm;
  later.first_channel = 8;
  prelu.slope = values.data(), prelu.params.activation.kind = ActivationKind::prelu;
  EXPECT_THROW(backward(of_x, source, &later, values.data()), std::invalid_argument);
  EXPECT_THROW(backward(of_x, source, &prelu, values.data()), std::invalid_argument);
}

#endif

}  // namespace
}  // namespace vg::test
