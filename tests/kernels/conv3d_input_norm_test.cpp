// A norm that a bfloat16 convolution applies to its input: the same bits as the norm in a pass of its own.
#ifdef VOXGRAD_WITH_CUDA

#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/elementwise/elementwise.h"
#include "support/buffer.h"
#include "support/devices.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using Conv3dInputNormTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dInputNormTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

struct Case {
  int64_t in, out;
  ActivationKind activation;
  bool per_instance = false;
  bool affine = true;
  int64_t slope_count = 1;
  Placement place = {};
  int kernel_size = 3, stride = 1;
  int64_t first_channel = 0;
};

std::vector<bfloat16> rounded(const std::vector<float>& values) {
  std::vector<bfloat16> result;
  for (const float value : values) result.push_back(to_bfloat16(value));
  return result;
}

std::vector<uint16_t> bits(const std::vector<bfloat16>& values) {
  std::vector<uint16_t> result;
  for (const bfloat16 value : values) result.push_back(value.bits);
  return result;
}

// A convolution with a norm of its input, and its gradient of the weights.
class Problem {
 public:
  Problem(const Case& c, int64_t n, int64_t d, int64_t h, int64_t w, const Exec& exec)
      : case_(c),
        exec_(exec),
        groups_(c.per_instance ? n : 1),
        x_(exec.device, n, d, h, w, c.in, rounded(uniform(n * d * h * w * c.in, 1, -2, 3)), c.place),
        after_norm_(exec.device, n, d, h, w, c.in),
        y_(exec.device, n, extent(d), extent(h), extent(w), c.out),
        dy_(exec.device, n, extent(d), extent(h), extent(w), c.out,
            rounded(uniform(n * extent(d) * extent(h) * extent(w) * c.out, 2))),
        mean_(exec.device, uniform(groups_ * c.in, 3)),
        variance_(exec.device, uniform(groups_ * c.in, 4, 0.5f, 2)),
        gamma_(exec.device, uniform(c.in, 5, -1, 2)),
        beta_(exec.device, uniform(c.in, 6, 0.5f, 1)),  // padding must stay zero, not act(beta)
        slope_(exec.device, uniform(c.slope_count, 7, -0.5f, 1.5f)),
        weight_(exec.device, uniform(c.in * c.out * taps(), 8)),
        bias_(exec.device, uniform(c.out, 9)) {}

  struct Results {
    std::vector<uint16_t> y;
    std::vector<float> mean, variance, dweight;
  };

  // What the functions compute from x and its norm, or with null from a norm in a pass of its own.
  template <class Forward, class BackwardWeight>
  Results run(bool fused, const Forward& forward, const BackwardWeight& backward_weight) {
    const InputNorm norm = input_norm();
    View<const bfloat16> x = x_;
    if (!fused) {
      const int64_t first = case_.first_channel;
      copy(after_norm_.view(), x, exec_);
      norm3d_apply(after_norm_.view().channels(first, case_.in), x.channels(first, case_.in), norm.mean,
                   norm.variance, norm.gamma, norm.beta, norm.slope, norm.params, exec_);
      x = after_norm_;
    }
    const Buffer<float> mean(exec_.device, groups_ * case_.out), variance(exec_.device, groups_ * case_.out),
        dweight(exec_.device, uniform(case_.in * case_.out * taps(), 10));  // accumulates
    const OutputStatistics statistics{mean.data(), variance.data(), case_.per_instance};
    forward(y_.view(), statistics, x, fused ? &norm : nullptr, weight_.data(), bias_.data());
    backward_weight(dweight.data(), View<const bfloat16>(dy_), x, fused ? &norm : nullptr);
    return {bits(y_.get()), mean.get(), variance.get(), dweight.get()};
  }

 private:
  int64_t extent(int64_t of_input) const { return case_.stride == 2 ? (of_input + 1) / 2 : of_input; }
  int64_t taps() const { return int64_t{case_.kernel_size} * case_.kernel_size * case_.kernel_size; }
  InputNorm input_norm() const {
    ActivationParams activation{.kind = case_.activation, .slope_count = case_.slope_count};
    const bool prelu = case_.activation == ActivationKind::prelu;
    return {.mean = mean_.data(),
            .variance = variance_.data(),
            .gamma = case_.affine ? gamma_.data() : nullptr,
            .beta = case_.affine ? beta_.data() : nullptr,
            .slope = prelu ? slope_.data() : nullptr,
            .params = {.per_instance = case_.per_instance, .activation = activation},
            .first_channel = case_.first_channel};
  }

  Case case_;
  Exec exec_;
  int64_t groups_;
  Activation<bfloat16> x_, after_norm_, y_, dy_;
  Buffer<float> mean_, variance_, gamma_, beta_, slope_, weight_, bias_;
};

void expect_equal(const Problem::Results& fused, const Problem::Results& apart) {
  EXPECT_EQ(fused.y, apart.y);
  EXPECT_EQ(fused.mean, apart.mean);
  EXPECT_EQ(fused.variance, apart.variance);
  EXPECT_EQ(fused.dweight, apart.dweight);
}

// Every tile, norm and activation; with one multiprocessor blocks march along D as far as they can.
TEST_P(Conv3dInputNormTest, HaloTilesGiveTheSameBits) {
  using enum ActivationKind;
  constexpr Case cases[] = {{16, 16, relu},
                            {16, 32, prelu, true},
                            {32, 16, leaky_relu, false, false},
                            {32, 32, relu, true, true, 1, {1, 16, 0}},
                            {48, 16, prelu},
                            {48, 32, relu, true},
                            {64, 16, identity, false},
                            {64, 32, prelu, false, false, 1, {0, 8, 8}},
                            {16, 48, relu},
                            {32, 16, relu, false, true, 1, {}, 3, 1, 16},
                            {64, 32, relu, false, true, 1, {1, 16, 0}, 3, 1, 32}};
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.in << "->" << c.out);
    Problem problem(c, c.per_instance ? 2 : 1, 4, 9, 9, exec());
    const Conv3dParams p{c.in, c.out, 3, 1, 1};
    const auto forward = [&](View<bfloat16> y, const OutputStatistics& statistics, View<const bfloat16> x,
                             const InputNorm* norm, const float* weight, const float* bias) {
      cuda::conv3d_forward_halo_tile(y, x, weight, bias, p, 1, exec(), &statistics, norm);
    };
    const auto backward_weight = [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                     const InputNorm* norm) {
      cuda::conv3d_backward_weight_halo_tile(dweight, dy, x, 1, exec(), norm);
    };
    expect_equal(problem.run(true, forward, backward_weight), problem.run(false, forward, backward_weight));
  }
}

// The same with stride 2, where planes are shared between outputs or brought step by step.
TEST_P(Conv3dInputNormTest, StridedTilesGiveTheSameBits) {
  using enum ActivationKind;
  constexpr Case cases[] = {{16, 32, relu, false, true, 1, {}, 3, 2},
                            {16, 32, prelu, true, true, 1, {1, 16, 0}, 3, 2},
                            {32, 64, leaky_relu, true, false, 1, {0, 8, 8}, 3, 2},
                            {48, 32, relu, false, true, 1, {}, 3, 2},
                            {128, 32, relu, false, true, 1, {}, 3, 2},
                            {32, 32, relu, false, true, 1, {}, 3, 2, 16}};
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.in << "->" << c.out);
    Problem problem(c, c.per_instance ? 2 : 1, 5, 7, 18, exec());
    const auto forward = [&](View<bfloat16> y, const OutputStatistics& statistics, View<const bfloat16> x,
                             const InputNorm* norm, const float* weight, const float* bias) {
      cuda::conv3d_forward_strided(y, x, weight, bias, 1, exec(), &statistics, norm);
    };
    const auto backward_weight = [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                     const InputNorm* norm) {
      cuda::conv3d_backward_weight_strided(dweight, dy, x, 1, exec(), norm);
    };
    expect_equal(problem.run(true, forward, backward_weight), problem.run(false, forward, backward_weight));
  }
}

// Algorithms without the norm, and slopes that the tiles do not take, through scratch memory.
TEST_P(Conv3dInputNormTest, EveryAlgorithmGivesTheSameBits) {
  using enum ActivationKind;
  constexpr Case cases[] = {{16, 16, relu},
                            {32, 32, prelu, true},
                            {16, 32, prelu, false, true, 16},
                            {16, 16, relu, false, true, 1, {1, 3, 2}},
                            {64, 64, relu},
                            {16, 32, relu, false, true, 1, {}, 3, 2},
                            {16, 4, relu, true, true, 1, {}, 1, 1},
                            {48, 16, relu, false, true, 1, {}, 3, 1, 24},
                            {80, 16, relu, false, true, 1, {}, 3, 1, 40},
                            {5, 3, relu}};
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.in << "->" << c.out);
    Problem problem(c, 2, 2, 5, 6, exec());
    const Conv3dParams p{c.in, c.out, c.kernel_size, c.stride, c.kernel_size / 2};
    const auto forward = [&](View<bfloat16> y, const OutputStatistics& statistics, View<const bfloat16> x,
                             const InputNorm* norm, const float* weight, const float* bias) {
      if (norm != nullptr) return conv3d_forward(y, &statistics, x, *norm, weight, bias, p, exec());
      conv3d_forward(y, statistics, x, weight, bias, p, exec());
    };
    const auto backward_weight = [&](float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                     const InputNorm* norm) {
      if (norm != nullptr) return conv3d_backward_weight(dweight, dy, x, *norm, p, exec());
      conv3d_backward_weight(dweight, dy, x, p, exec());
    };
    expect_equal(problem.run(true, forward, backward_weight), problem.run(false, forward, backward_weight));
  }
}

TEST_P(Conv3dInputNormTest, WrongNormsAreErrors) {
  const Buffer<bfloat16> x(device(), 16);
  const Buffer<float> values(device(), 256);
  const View<bfloat16> view = contiguous_view(x.data(), 1, 1, 1, 1, 16);
  const OutputStatistics statistics{values.data(), values.data(), false};
  const auto forward = [&](const InputNorm& norm) {
    conv3d_forward(view, &statistics, view, norm, values.data(), nullptr, {16, 16, 1, 1, 0}, exec());
  };
  EXPECT_THROW(forward({}), std::invalid_argument);
  EXPECT_THROW(forward({.mean = values.data(), .variance = values.data(), .gamma = values.data()}),
               std::invalid_argument);
  EXPECT_THROW(forward({.mean = values.data(), .variance = values.data(), .slope = values.data()}),
               std::invalid_argument);
}

}  // namespace
}  // namespace vg::test

#endif
