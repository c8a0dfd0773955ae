// Both gradients of a bfloat16 convolution in one kernel, from a gradient that is made on the way, against a
// pass that makes it, the kernel of the input's gradient (the same bits) and the oracle of the weights'.
#include <memory>

#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_halo_tile.h"
#include "kernels/conv3d/conv3d_narrow_gradient.h"
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

TEST(HaloGradientsChoiceTest, ABlockTakesMostOfAMultiprocessorsSharedMemory) {
  constexpr HaloGradientsTile tile;
  constexpr int bytes = tile.shared_bytes() + tile.score_bytes() + HaloGradientsTile::table_bytes;
  const CudaLimits a100{80, 166'912, 108}, rtx4090{89, 101'376, 128};
  const auto memory = std::make_unique<bfloat16[]>(6 * 48);
  const auto applies = [&](int64_t in, int64_t out, const CudaLimits& limits, int64_t first = 0) {
    const View<const bfloat16> x = contiguous_view<const bfloat16>(memory.get() + first, 1, 1, 2, 3, in),
                               y = contiguous_view<const bfloat16>(memory.get(), 1, 1, 2, 3, out);
    return halo_gradients_apply({in, out, 3, 1, 1},
                                contiguous_view<const bfloat16>(memory.get(), 1, 1, 2, 3, in), y, x, limits);
  };
  EXPECT_TRUE(applies(16, 16, a100));
  EXPECT_TRUE(applies(32, 16, a100));
  EXPECT_TRUE(applies(16, 16, {80, bytes, 108}));
  EXPECT_FALSE(applies(16, 16, {80, bytes - 1, 108}));
  EXPECT_FALSE(applies(16, 16, {75, bytes, 108}));
  EXPECT_FALSE(applies(16, 16, rtx4090));
  EXPECT_FALSE(applies(16, 32, a100));
  EXPECT_FALSE(applies(48, 16, a100));
  EXPECT_FALSE(applies(8, 16, a100));
  EXPECT_FALSE(applies(16, 16, a100, 4)) << "x lies at 8 bytes";
  EXPECT_FALSE(halo_gradients_apply({16, 16, 3, 2, 1},
                                    contiguous_view<const bfloat16>(memory.get(), 1, 1, 2, 3, 16),
                                    contiguous_view<const bfloat16>(memory.get(), 1, 1, 1, 2, 16),
                                    contiguous_view<const bfloat16>(memory.get(), 1, 1, 2, 3, 16), a100));
}

#ifdef VOXGRAD_WITH_CUDA

using Conv3dHaloGradientsTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dHaloGradientsTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

struct Case {
  int64_t n, d, h, w;
  bool exact = false;  // all values are small integers
  bool narrow = false;
  ActivationKind activation = ActivationKind::relu, activation_of_x = ActivationKind::relu;
  bool per_instance = false, affine = true, fixed = false;
  int64_t in = 16, first_channel = 0;
  Placement place = {}, place_of_g = {}, place_of_y = {};
  bool by_choice = false;  // the public function
  int multiprocessors = 128;
};

std::vector<float> floats(const std::vector<bfloat16>& values) {
  std::vector<float> result;
  for (const bfloat16 value : values) result.push_back(to_float(value));
  return result;
}

struct Results {
  std::vector<float> dx, dweight, means, dgamma, dbeta;
  bool operator==(const Results&) const = default;
};

class Problem {
 public:
  Problem(const Case& c, const Exec& exec)
      : c_(c),
        exec_(exec),
        oracle_(params(), c.n, c.d, c.h, c.w),
        groups_(c.per_instance ? c.n : 1),
        x_(activation(c.in, 1, c.place)),
        g_(activation(16, 2, c.place_of_g)),
        y_(activation(16, 3, c.place_of_y)),
        narrow_(activation(4, 4, {})),
        mean_(of_channels(16, 5)),
        variance_(variances(16, 6)),
        gamma_(of_channels(16, 7)),
        beta_(of_channels(16, 8)),
        means_(of_channels(32, 9)),
        mean_x_(of_channels(c.in, 10)),
        variance_x_(variances(c.in, 11)),
        gamma_x_(of_channels(c.in, 12)),
        beta_x_(of_channels(c.in, 13)),
        slope_(exec.device, std::vector<float>{0.25f}),
        weight_(exec.device, values(oracle_.weights(), 14)),
        weight_of_narrow_(exec.device, values(64, 15)) {}

  // In one kernel.
  Results together() const {
    const Outputs o(*this);
    const InputNorm of_x = norm_of_x();
    if (c_.narrow) {
      conv3d_backward(o.dx.view(), o.dweight.data(), {}, from_narrow(), x_, &of_x, weight_.data(), params(),
                      exec_);
    } else if (c_.by_choice) {
      conv3d_backward_through_norm(o.dx.view(), o.dweight.data(), o.gradients(), View<bfloat16>(), source(),
                                   x_, of_x, weight_.data(), params(), o.means.data(), exec_);
    } else {
      cuda::conv3d_backward_halo_tile(o.dx, o.dweight.data(), source(),
                                      {x_, of_x, o.gradients(), o.means.data()}, weight_.data(),
                                      c_.multiprocessors, exec_);
    }
    return o.get();
  }

  // One by one; the gradient of the weights by the oracle.
  Results apart(std::vector<double>& dweight) const {
    const Outputs o(*this);
    const Activation<bfloat16> g(exec_.device, c_.n, c_.d, c_.h, c_.w, 16);
    Activation<bfloat16> xn(exec_.device, c_.n, c_.d, c_.h, c_.w, c_.in);
    xn_of(xn);
    if (c_.narrow) {
      conv3d_make_gradient(g.view(), from_narrow(), exec_);
    } else {
      norm3d_backward_input(g.view(), g_, y_, source().norm, means_.data(), exec_);
    }
    const cuda::NormGradientRequest request{x_, norm_of_x(), o.gradients(), o.means.data()};
    cuda::conv3d_backward_input_halo_tile(o.dx, g, weight_.data(), params(), 128, exec_,
                                          c_.narrow ? nullptr : &request);
    dweight = oracle_.backward_weight(floats(g.get()), floats(xn.get()));
    const std::vector<float> before = o.dweight.get();
    for (size_t i = 0; i < before.size(); ++i) dweight[i] += static_cast<double>(before[i]);
    return o.get();
  }

  [[nodiscard]] int64_t voxels() const { return c_.n * c_.d * c_.h * c_.w; }

 private:
  // With contents, to which all but dx adds.
  struct Outputs {
    explicit Outputs(const Problem& p)
        : dx(p.exec_.device, p.c_.n, p.c_.d, p.c_.h, p.c_.w, p.c_.in, p.c_.place),
          dweight(p.exec_.device, p.values(p.oracle_.weights(), 16)),
          dgamma(p.of_channels(p.c_.in, 17)),
          dbeta(p.of_channels(p.c_.in, 18)),
          means(p.exec_.device, std::vector<float>(static_cast<size_t>(2 * p.groups_ * p.c_.in))) {}
    [[nodiscard]] NormGradients gradients() const { return {dgamma.data(), dbeta.data(), nullptr}; }
    [[nodiscard]] Results get() const {
      return {floats(dx.get()), dweight.get(), means.get(), dgamma.get(), dbeta.get()};
    }
    Activation<bfloat16> dx;
    Buffer<float> dweight, dgamma, dbeta, means;
  };

  [[nodiscard]] Conv3dParams params() const { return {c_.in, 16, 3, 1, 1}; }
  [[nodiscard]] std::vector<float> values(int64_t count, uint32_t seed) const {
    return c_.exact ? integers(count, seed, 1) : uniform(count, seed, -1, 1.5f);
  }
  [[nodiscard]] Activation<bfloat16> activation(int64_t channels, uint32_t seed, const Placement& p) const {
    std::vector<bfloat16> all;
    for (const float value : values(c_.n * c_.d * c_.h * c_.w * channels, seed))
      all.push_back(to_bfloat16(value));
    return {exec_.device, c_.n, c_.d, c_.h, c_.w, channels, all, p};
  }
  [[nodiscard]] Buffer<float> of_channels(int64_t channels, uint32_t seed) const {
    return {exec_.device, values(groups_ * channels, seed)};
  }
  [[nodiscard]] Buffer<float> variances(int64_t channels, uint32_t seed) const {
    return {exec_.device, c_.exact ? std::vector<float>(static_cast<size_t>(groups_ * channels), 1)
                                   : uniform(groups_ * channels, seed, 0.5f, 2)};
  }
  // Integers stay integers: no scale but 1.
  [[nodiscard]] InputNorm norm(const Buffer<float>& mean, const Buffer<float>& variance,
                               const Buffer<float>& gamma, const Buffer<float>& beta,
                               ActivationKind activation) const {
    const bool affine = c_.affine && !c_.exact;
    return {.mean = mean.data(),
            .variance = variance.data(),
            .gamma = affine ? gamma.data() : nullptr,
            .beta = affine ? beta.data() : nullptr,
            .slope = activation == ActivationKind::prelu ? slope_.data() : nullptr,
            .params = {.per_instance = c_.per_instance,
                       .eps = c_.exact ? 0.0f : 1e-5f,
                       .fixed_statistics = c_.fixed || c_.exact,
                       .activation = {.kind = activation, .negative_slope = 0.5f, .slope_count = 1}}};
  }
  [[nodiscard]] InputNorm norm_of_x() const {
    InputNorm result = norm(mean_x_, variance_x_, gamma_x_, beta_x_, c_.activation_of_x);
    result.first_channel = c_.first_channel;
    return result;
  }
  [[nodiscard]] NormInputGradient source() const {
    return {g_, y_, norm(mean_, variance_, gamma_, beta_, c_.activation), means_.data()};
  }
  [[nodiscard]] NarrowGradient from_narrow() const {
    return {narrow_, weight_of_narrow_.data(), y_, source().norm, means_.data()};
  }
  void xn_of(Activation<bfloat16>& xn) const {
    xn.set(x_.get());
    const InputNorm of_x = norm_of_x();
    const View<bfloat16> later = xn.view().channels(c_.first_channel, c_.in);
    norm3d_apply(later, later, of_x.mean, of_x.variance, of_x.gamma, of_x.beta, of_x.slope, of_x.params,
                 exec_);
  }

  Case c_;
  Exec exec_;
  ConvOracle oracle_;
  int64_t groups_;
  Activation<bfloat16> x_, g_, y_, narrow_;
  Buffer<float> mean_, variance_, gamma_, beta_, means_, mean_x_, variance_x_, gamma_x_, beta_x_, slope_,
      weight_, weight_of_narrow_;
};

void expect_agreement(const Case& c, const Exec& exec) {
  SCOPED_TRACE(::testing::Message() << c.n << "x" << c.d << "x" << c.h << "x" << c.w << " " << c.in
                                    << " channels, narrow " << c.narrow << " exact " << c.exact);
  const Problem problem(c, exec);
  const Results together = problem.together();
  EXPECT_EQ(together, problem.together()) << "the same bits again";
  std::vector<double> dweight;
  const Results apart = problem.apart(dweight);
  EXPECT_EQ(together.dx, apart.dx);
  const auto voxels = static_cast<double>(problem.voxels());
  EXPECT_TRUE(all_close(together.dweight, dweight, c.exact ? 0 : 1e-6 * std::sqrt(voxels), 1e-6));
  const double tolerance = c.exact ? 0 : 1e-5 * std::sqrt(voxels);
  EXPECT_TRUE(all_close(together.means, apart.means, tolerance / voxels, 1e-5));
  EXPECT_TRUE(all_close(together.dgamma, apart.dgamma, tolerance, 1e-5));
  EXPECT_TRUE(all_close(together.dbeta, apart.dbeta, tolerance, 1e-5));
}

TEST_P(Conv3dHaloGradientsTest, IntegersAreExact) {
  // Long marches through the ring of planes; more than one tile along H and W.
  expect_agreement({.n = 1, .d = 7, .h = 5, .w = 17, .exact = true, .multiprocessors = 2}, exec());
  expect_agreement({.n = 2, .d = 2, .h = 33, .w = 3, .exact = true, .multiprocessors = 2}, exec());
}

TEST_P(Conv3dHaloGradientsTest, OddShapes) {
  const Case cases[] = {{.n = 1, .d = 1, .h = 1, .w = 1},
                        {.n = 3, .d = 5, .h = 2, .w = 1, .multiprocessors = 2},
                        {.n = 1, .d = 17, .h = 3, .w = 2, .multiprocessors = 4},
                        {.n = 2, .d = 3, .h = 17, .w = 7}};
  for (const Case& c : cases) expect_agreement(c, exec());
}

TEST_P(Conv3dHaloGradientsTest, EveryNorm) {
  using enum ActivationKind;
  Case c{.n = 2, .d = 2, .h = 3, .w = 5, .activation = leaky_relu, .activation_of_x = identity};
  c.affine = false;
  expect_agreement(c, exec());
  c.activation = prelu;
  c.activation_of_x = leaky_relu;
  c.per_instance = true;
  expect_agreement(c, exec());
  expect_agreement({.n = 1, .d = 5, .h = 3, .w = 5, .activation = identity, .fixed = true}, exec());
}

TEST_P(Conv3dHaloGradientsTest, EveryPlacement) {
  for (const Placement& place : {Placement{1, 0, 0}, Placement{1, 8, 16}}) {
    expect_agreement({.n = 2, .d = 2, .h = 2, .w = 3, .place = place}, exec());
    expect_agreement({.n = 2, .d = 2, .h = 2, .w = 3, .place_of_g = place, .place_of_y = place}, exec());
  }
}

// From 32 channels each block computes 16 of the input's. As in the last layers of a network: the gradient is
// made of that of 4 classes, and the norm is of the later half of the channels.
TEST_P(Conv3dHaloGradientsTest, NarrowGradient) {
  Case c{.n = 1, .d = 3, .h = 2, .w = 6, .exact = true, .narrow = true};
  expect_agreement(c, exec());
  c.exact = false;
  for (const int64_t first : {0, 8, 16}) {
    c.in = 32;
    c.first_channel = first;
    c.per_instance = first == 16;
    if (first == 8) c.w = 18;
    if (first == 16) c.place = {1, 16, 0};
    expect_agreement(c, exec());
  }
}

// The public functions: whatever lies otherwise takes a pass more.
TEST_P(Conv3dHaloGradientsTest, TheChoiceFallsBack) {
  Case c{.n = 1, .d = 2, .h = 3, .w = 4, .by_choice = true};
  expect_agreement(c, exec());
  c.place_of_y = {1, 0, 0};
  expect_agreement(c, exec());
  c.in = 32;
  expect_agreement(c, exec());
  c.narrow = true;
  expect_agreement(c, exec());
}

TEST_P(Conv3dHaloGradientsTest, WrongArgumentsAreErrors) {
  const Buffer<bfloat16> memory(device(), 32), result(device(), 16);
  const Buffer<float> values(device(), 16 * 16 * 27);
  const View<bfloat16> view = contiguous_view(memory.data(), 1, 1, 1, 1, 16),
                       dx = contiguous_view(result.data(), 1, 1, 1, 1, 16);
  const InputNorm norm{.mean = values.data(), .variance = values.data()};
  const auto backward = [&](const View<bfloat16>& to, float* dweight, const NormInputGradient& source,
                            float* means) {
    conv3d_backward_through_norm(to, dweight, {}, View<bfloat16>(), source, view, norm, values.data(),
                                 {16, 16, 3, 1, 1}, means, exec());
  };
  const NormInputGradient source{view, view, norm, values.data()};
  EXPECT_THROW(backward(dx.channels(0, 8), values.data(), source, values.data()), std::invalid_argument);
  EXPECT_THROW(backward(view, values.data(), source, values.data()), std::invalid_argument) << "dx is dy";
  EXPECT_THROW(backward(dx, nullptr, source, values.data()), std::invalid_argument);
  EXPECT_THROW(backward(dx, values.data(), source, nullptr), std::invalid_argument);
  EXPECT_THROW(backward(dx, values.data(), {view, view, {}, values.data()}, values.data()),
               std::invalid_argument);
  const NarrowGradient narrow{view.channels(0, 4), values.data(), view, norm, values.data()};
  const auto backward_narrow = [&](const View<bfloat16>& to, float* dweight) {
    conv3d_backward(to, dweight, View<bfloat16>(), narrow, view, nullptr, values.data(), {16, 16, 3, 1, 1},
                    exec());
  };
  EXPECT_THROW(backward_narrow(dx.channels(0, 8), values.data()), std::invalid_argument);
  EXPECT_THROW(backward_narrow(dx, nullptr), std::invalid_argument);
}

#endif

}  // namespace
}  // namespace vg::test
