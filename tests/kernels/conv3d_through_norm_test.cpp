// All gradients of a bfloat16 convolution behind a norm in one call, against the three calls that it
// replaces.
#ifdef VOXGRAD_WITH_CUDA

#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using Conv3dThroughNormTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dThroughNormTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

struct Case {
  int64_t in, out;
  ActivationKind activation;
  bool per_instance = false, affine = true, fixed = false;
  int64_t slope_count = 1;
  Placement place = {};
  int kernel_size = 1, stride = 1;
  int64_t n = 2, d = 3, h = 5, w = 7;
};

std::vector<bfloat16> rounded(const std::vector<float>& values) {
  std::vector<bfloat16> result;
  for (const float value : values) result.push_back(to_bfloat16(value));
  return result;
}

// dx, then the gradients of weight, bias, gamma, beta and slope.
using Results = std::vector<std::vector<float>>;

Results run(const Case& c, bool together, const Exec& exec) {
  const int64_t k = c.kernel_size, voxels = c.n * c.d * c.h * c.w, groups = c.per_instance ? c.n : 1;
  const auto extent = [&](int64_t of_input) { return c.stride == 2 ? (of_input + 1) / 2 : of_input; };
  const int64_t out_voxels = c.n * extent(c.d) * extent(c.h) * extent(c.w);
  const DeviceKind device = exec.device;
  const Activation<bfloat16> x(device, c.n, c.d, c.h, c.w, c.in, rounded(uniform(voxels * c.in, 1, -2, 3)),
                               c.place);
  const Activation<bfloat16> dy(device, c.n, extent(c.d), extent(c.h), extent(c.w), c.out,
                                rounded(uniform(out_voxels * c.out, 2)), c.place);
  Activation<bfloat16> dx(device, c.n, c.d, c.h, c.w, c.in, c.place), y(device, c.n, c.d, c.h, c.w, c.in);
  const Buffer<float> mean(device, uniform(groups * c.in, 3)),
      variance(device, uniform(groups * c.in, 4, 0.5f, 2)), gamma(device, uniform(c.in, 5, -1, 2)),
      beta(device, uniform(c.in, 6, 0.5f, 1)), slope(device, uniform(c.slope_count, 7, -0.5f, 1.5f)),
      weight(device, uniform(c.in * c.out * k * k * k, 8));
  // All accumulate.
  const Buffer<float> dweight(device, uniform(c.in * c.out * k * k * k, 9)),
      dbias(device, uniform(c.out, 10)), dgamma(device, uniform(c.in, 11)), dbeta(device, uniform(c.in, 12)),
      dslope(device, uniform(c.slope_count, 13));
  const bool prelu = c.activation == ActivationKind::prelu;
  const InputNorm norm{.mean = mean.data(),
                       .variance = variance.data(),
                       .gamma = c.affine ? gamma.data() : nullptr,
                       .beta = c.affine ? beta.data() : nullptr,
                       .slope = prelu ? slope.data() : nullptr,
                       .params = {.per_instance = c.per_instance,
                                  .fixed_statistics = c.fixed,
                                  .activation = {.kind = c.activation, .slope_count = c.slope_count}}};
  const kernels::NormGradients gradients{c.affine ? dgamma.data() : nullptr,
                                         c.affine ? dbeta.data() : nullptr, prelu ? dslope.data() : nullptr};
  const Conv3dParams params{c.in, c.out, c.kernel_size, c.stride, c.kernel_size / 2};
  if (together) {
    conv3d_backward_through_norm(dx.view(), dweight.data(), dbias.data(), gradients, dy, x, norm,
                                 weight.data(), params, exec);
  } else {
    norm3d_apply(y.view(), x, norm.mean, norm.variance, norm.gamma, norm.beta, norm.slope, norm.params, exec);
    conv3d_backward_weight(dweight.data(), dy, y, params, exec);
    conv3d_backward_bias(dbias.data(), dy, exec);
    conv3d_backward_input(dx.view(), dy, weight.data(), params, exec);
    norm3d_backward(dx.view(), gradients.gamma, gradients.beta, gradients.slope, View<const bfloat16>(dx), x,
                    norm.mean, norm.variance, norm.gamma, norm.beta, norm.slope, norm.params, exec);
  }
  std::vector<float> values;
  for (const bfloat16 value : dx.get()) values.push_back(to_float(value));
  return {values, dweight.get(), dbias.get(), dgamma.get(), dbeta.get(), dslope.get()};
}

void expect_same_gradients(const Case& c, const Exec& exec) {
  SCOPED_TRACE(::testing::Message() << c.in << "->" << c.out << " kernel " << c.kernel_size << " "
                                    << static_cast<int>(c.activation) << " " << c.per_instance);
  const Results together = run(c, true, exec), apart = run(c, false, exec);
  EXPECT_EQ(together, run(c, true, exec)) << "the same bits again";
  const auto largest_of = [](const std::vector<float>& values) {
    double largest = 0;
    for (const float value : values) largest = std::max<double>(largest, std::abs(value));
    return largest;
  };
  // The three calls round the gradient of the norm's result, and dx once more. The errors of a sum over
  // voxels of both signs grow with the root of their number.
  const double of_dx = largest_of(apart[0]) / 128,
               of_sum = std::sqrt(static_cast<double>(c.n * c.d * c.h * c.w)) * of_dx / 2;
  for (size_t i = 0; i < apart.size(); ++i) {
    const double tolerance = i == 0 ? of_dx : i < 3 ? 1e-5 * largest_of(apart[i]) : of_sum;
    EXPECT_TRUE(all_close(together[i], apart[i], tolerance, 0)) << "result " << i;
  }
}

TEST_P(Conv3dThroughNormTest, KernelOneToFewChannels) {
  using enum ActivationKind;
  const Case cases[] = {{16, 4, prelu, true, false},
                        {8, 3, relu},
                        {16, 8, identity, false, true, true},
                        {32, 1, leaky_relu, true, true, false, 1, {1, 8, 0}},
                        {64, 5, prelu, false, true, true, 1, {0, 8, 8}},
                        {16, 4, prelu, true, true, false, 16},
                        {4, 8, relu, true}};
  for (const Case& c : cases) expect_same_gradients(c, exec());
}

// More voxels than blocks take at once, and a sample that does not fill a warp's voxels.
TEST_P(Conv3dThroughNormTest, KernelOneManyVoxels) {
  expect_same_gradients({.in = 16,
                         .out = 4,
                         .activation = ActivationKind::prelu,
                         .per_instance = true,
                         .n = 3,
                         .d = 4,
                         .h = 33,
                         .w = 17},
                        exec());
}

// Halo tiles sum what the norm needs as they make the gradient of its result; others do not.
TEST_P(Conv3dThroughNormTest, KernelThree) {
  using enum ActivationKind;
  const Case cases[] = {
      {.in = 16, .out = 16, .activation = relu, .kernel_size = 3},
      {.in = 16, .out = 32, .activation = leaky_relu, .per_instance = true, .kernel_size = 3},
      {.in = 32, .out = 16, .activation = identity, .affine = false, .place = {1, 16, 0}, .kernel_size = 3},
      {.in = 32, .out = 32, .activation = relu, .fixed = true, .kernel_size = 3, .h = 19, .w = 9},
      {.in = 48, .out = 64, .activation = relu, .per_instance = true, .affine = false, .kernel_size = 3},
      {.in = 16, .out = 16, .activation = prelu, .kernel_size = 3},
      {.in = 64, .out = 64, .activation = relu, .kernel_size = 3},
      {.in = 16, .out = 32, .activation = relu, .kernel_size = 3, .stride = 2},
      {.in = 5, .out = 3, .activation = relu, .kernel_size = 3}};
  for (const Case& c : cases) expect_same_gradients(c, exec());
}

TEST_P(Conv3dThroughNormTest, WrongArgumentsAreErrors) {
  const Buffer<bfloat16> memory(device(), 16);
  const Buffer<float> values(device(), 256);
  const View<bfloat16> view = contiguous_view(memory.data(), 1, 1, 1, 1, 16);
  const auto backward = [&](const View<bfloat16>& dx, const InputNorm& norm) {
    conv3d_backward_through_norm(dx, values.data(), nullptr, {}, view, view, norm, values.data(),
                                 {16, 16, 1, 1, 0}, exec());
  };
  const InputNorm norm{.mean = values.data(), .variance = values.data()};
  EXPECT_THROW(backward(view, {}), std::invalid_argument);
  EXPECT_THROW(backward(view.channels(0, 8), norm), std::invalid_argument);
  InputNorm prelu = norm;
  prelu.slope = values.data();
  prelu.params.activation = {.kind = ActivationKind::prelu, .slope_count = 1};
  EXPECT_THROW(backward(view, prelu), std::invalid_argument) << "no gradient of the slope";
}

}  // namespace
}  // namespace vg::test

#endif
