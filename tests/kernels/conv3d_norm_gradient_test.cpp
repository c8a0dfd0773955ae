// The gradient of a convolution's weights from a gradient that is made on the way (the second half of a
// norm's backward), against a pass that makes it: the same bits.
#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_first_tile.h"
#include "kernels/conv3d/conv3d_halo_tile.h"
#include "kernels/conv3d/conv3d_narrow_gradient.h"
#include "support/buffer.h"
#include "support/devices.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;

TEST(Conv3dNormGradientChoiceTest, IsThatOfTheTilesOfFewChannels) {
  for (const int64_t in : {1, 4, 16, 32, 48, 64}) {
    for (const int64_t out : {16, 32, 64}) EXPECT_TRUE(conv3d_makes_gradient({in, out, 3, 1, 1}));
  }
  EXPECT_TRUE(conv3d_makes_gradient({4, 128, 3, 1, 1}));
  for (const Conv3dParams& p : {Conv3dParams{16, 16, 3, 2, 1},
                                {16, 16, 1, 1, 0},
                                {16, 16, 3, 1, 0},
                                {16, 128, 3, 1, 1},
                                {80, 16, 3, 1, 1},
                                {8, 16, 3, 1, 1},
                                {4, 8, 3, 1, 1}})
    EXPECT_FALSE(conv3d_makes_gradient(p)) << p.in_channels << "->" << p.out_channels;
}

TEST(Conv3dNormGradientChoiceTest, TwoBlocksFitAMultiprocessor) {
  EXPECT_LE(2 * (HaloWgradTile{}.shared_bytes_of_gradient() + 2048), 164 * 1024);
  EXPECT_LE(FirstWgradTile::shared_bytes_of_gradient + 1024, 48 * 1024);
}

#ifdef VOXGRAD_WITH_CUDA

using Conv3dNormGradientTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dNormGradientTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

enum class Kept { in_place, elsewhere, nowhere };

struct Case {
  int64_t in, out;
  ActivationKind activation = ActivationKind::relu;
  Kept kept = Kept::in_place;
  bool per_instance = false, affine = true, fixed = false, norm_of_x = false;
  int64_t narrow = 0;  // channels of a gradient of which the norm's is made
  Placement place = {}, place_of_y = {};
  int64_t n = 2, d = 2, h = 3, w = 5;
  int kernel_size = 3, stride = 1;
};

std::vector<bfloat16> rounded(const std::vector<float>& values) {
  std::vector<bfloat16> result;
  for (const float value : values) result.push_back(to_bfloat16(value));
  return result;
}

struct Results {
  std::vector<float> dweight;
  std::vector<bfloat16> dy;  // where it is kept
};

Results run(const Case& c, bool on_the_way, const Exec& exec) {
  const DeviceKind device = exec.device;
  const auto extent = [&](int64_t of_input) { return (of_input - 1) / c.stride + 1; };
  const int64_t d = extent(c.d), h = extent(c.h), w = extent(c.w), voxels = c.n * d * h * w,
                groups = c.out * (c.per_instance ? c.n : 1), taps = c.kernel_size == 3 ? 27 : 1;
  const Activation<bfloat16> x(device, c.n, c.d, c.h, c.w, c.in,
                               rounded(uniform(c.n * c.d * c.h * c.w * c.in, 1, -2, 3))),
      g(device, c.n, d, h, w, c.out, rounded(uniform(voxels * c.out, 2)), c.place),
      y(device, c.n, d, h, w, c.out, rounded(uniform(voxels * c.out, 3, -1, 2)), c.place_of_y);
  const int64_t narrow_channels = std::max<int64_t>(c.narrow, 1);
  const Activation<bfloat16> narrow(device, c.n, d, h, w, narrow_channels,
                                    rounded(uniform(voxels * narrow_channels, 13)));
  const Activation<bfloat16> elsewhere(device, c.n, d, h, w, c.out, c.place);
  const auto floats = [&](int64_t count, uint32_t seed, float low = -1, float high = 1) {
    return Buffer<float>(device, uniform(count, seed, low, high));
  };
  const Buffer<float> mean = floats(groups, 4), variance = floats(groups, 5, 0.5f, 2),
                      gamma = floats(c.out, 6, -1, 2), beta = floats(c.out, 7), slope = floats(1, 8),
                      means = floats(2 * groups, 9), mean_x = floats(c.in, 10),
                      variance_x = floats(c.in, 11, 0.5f, 2),
                      dweight = floats(c.in * c.out * taps, 12);  // accumulates
  const Buffer<float> weight = floats(narrow_channels * c.out, 14);
  const bool prelu = c.activation == ActivationKind::prelu;
  const NormInputGradient source{
      g,
      y,
      {.mean = mean.data(),
       .variance = variance.data(),
       .gamma = c.affine ? gamma.data() : nullptr,
       .beta = c.affine ? beta.data() : nullptr,
       .slope = prelu ? slope.data() : nullptr,
       .params = {.per_instance = c.per_instance,
                  .fixed_statistics = c.fixed,
                  .activation = {.kind = c.activation, .negative_slope = 0.3f, .slope_count = 1}}},
      means.data()};
  const NarrowGradient from_narrow{narrow, weight.data(), y, source.norm, means.data()};
  const InputNorm norm_of_x{.mean = mean_x.data(),
                            .variance = variance_x.data(),
                            .params = {.activation = {.kind = ActivationKind::relu}}};
  const Conv3dParams params{c.in, c.out, c.kernel_size, c.stride, c.kernel_size / 2};
  if (on_the_way) {
    const View<bfloat16> to = c.kept == Kept::nowhere    ? View<bfloat16>()
                              : c.kept == Kept::in_place ? g.view()
                                                         : elsewhere.view();
    const InputNorm* const norm = c.norm_of_x ? &norm_of_x : nullptr;
    if (c.narrow > 0) {
      conv3d_backward_weight(dweight.data(), to, from_narrow, x, norm, params, exec);
    } else {
      conv3d_backward_weight(dweight.data(), to, source, x, norm, params, exec);
    }
  } else {
    if (c.narrow > 0) {
      conv3d_make_gradient(elsewhere.view(), from_narrow, exec);
    } else {
      norm3d_backward_input(elsewhere.view(), g, y, source.norm, means.data(), exec);
    }
    if (c.norm_of_x) {
      conv3d_backward_weight(dweight.data(), elsewhere, x, norm_of_x, params, exec);
    } else {
      conv3d_backward_weight(dweight.data(), elsewhere, x, params, exec);
    }
  }
  Results results{dweight.get(), {}};
  if (c.kept != Kept::nowhere) results.dy = (on_the_way && c.kept == Kept::in_place ? g : elsewhere).get();
  return results;
}

void expect_same_bits(const Case& c, const Exec& exec) {
  SCOPED_TRACE(::testing::Message() << c.in << "->" << c.out << " activation "
                                    << static_cast<int>(c.activation) << " kept " << static_cast<int>(c.kept)
                                    << " instances " << c.per_instance);
  const Results made = run(c, true, exec), expected = run(c, false, exec);
  EXPECT_EQ(made.dweight, expected.dweight);
  ASSERT_EQ(made.dy.size(), expected.dy.size());
  for (size_t i = 0; i < made.dy.size(); ++i)
    ASSERT_EQ(to_float(made.dy[i]), to_float(expected.dy[i])) << "element " << i;
}

TEST_P(Conv3dNormGradientTest, FirstLayer) {
  using enum ActivationKind;
  const Case cases[] = {
      {.in = 4, .out = 16, .kept = Kept::nowhere},
      {.in = 4, .out = 32, .activation = prelu, .kept = Kept::nowhere, .per_instance = true},
      {.in = 1, .out = 16, .activation = leaky_relu, .kept = Kept::nowhere, .fixed = true},
      {.in = 3,
       .out = 16,
       .kept = Kept::nowhere,
       .affine = false,
       .place = {1, 16, 8},
       .place_of_y = {1, 16, 8},
       .n = 1,
       .h = 19,
       .w = 35},
      {.in = 4, .out = 16}};  // somebody wants it: a pass
  for (const Case& c : cases) expect_same_bits(c, exec());
}

TEST_P(Conv3dNormGradientTest, HaloTile) {
  using enum ActivationKind;
  const Case cases[] = {
      {.in = 16, .out = 16, .norm_of_x = true},
      {.in = 16, .out = 32, .activation = leaky_relu, .per_instance = true},
      {.in = 16, .out = 16, .activation = prelu, .kept = Kept::nowhere, .per_instance = true, .fixed = true},
      {.in = 32, .out = 32, .kept = Kept::elsewhere, .affine = false, .norm_of_x = true},
      {.in = 48,
       .out = 16,
       .activation = identity,
       .kept = Kept::elsewhere,
       .place = {1, 16, 0},
       .place_of_y = {1, 16, 0}},
      {.in = 16, .out = 16, .n = 1, .d = 4, .h = 35, .w = 9}};
  for (const Case& c : cases) expect_same_bits(c, exec());
}

// The network's last layers: x is the merge of a level, 4 classes.
TEST_P(Conv3dNormGradientTest, NarrowGradient) {
  using enum ActivationKind;
  const Case cases[] = {{.in = 32,
                         .out = 16,
                         .activation = prelu,
                         .kept = Kept::elsewhere,
                         .per_instance = true,
                         .affine = false,
                         .norm_of_x = true,
                         .narrow = 4},
                        {.in = 16, .out = 16, .kept = Kept::elsewhere, .narrow = 4, .h = 35, .w = 10},
                        {.in = 16, .out = 16, .kept = Kept::nowhere, .fixed = true, .narrow = 4},
                        // By a pass.
                        {.in = 16, .out = 16, .kept = Kept::elsewhere, .narrow = 4, .n = 1, .d = 1},
                        {.in = 16, .out = 16, .kept = Kept::elsewhere, .narrow = 3},
                        {.in = 16, .out = 16, .kept = Kept::elsewhere, .narrow = 4, .place_of_y = {0, 16, 0}},
                        {.in = 16, .out = 32, .kept = Kept::elsewhere, .narrow = 4},
                        {.in = 4, .out = 16, .kept = Kept::nowhere, .narrow = 4},
                        {.in = 16, .out = 48, .kept = Kept::elsewhere, .narrow = 16}};
  for (const Case& c : cases) expect_same_bits(c, exec());
}

// By a pass: voxels that lie otherwise, in place where many blocks read them, other algorithms.
TEST_P(Conv3dNormGradientTest, OthersNeedAPass) {
  const Case cases[] = {{.in = 16, .out = 16, .place_of_y = {1, 0, 0}},
                        {.in = 16, .out = 16, .kept = Kept::nowhere, .place_of_y = {0, 16, 0}},
                        {.in = 32, .out = 16},
                        {.in = 16, .out = 80},
                        {.in = 16, .out = 32, .stride = 2},
                        {.in = 16, .out = 4, .kernel_size = 1},
                        {.in = 5, .out = 3, .kept = Kept::nowhere}};
  for (const Case& c : cases) expect_same_bits(c, exec());
}

TEST_P(Conv3dNormGradientTest, WrongArgumentsAreErrors) {
  const Buffer<bfloat16> memory(device(), 64);
  const Buffer<float> values(device(), 16 * 16 * 27);
  const View<bfloat16> view = contiguous_view(memory.data(), 1, 1, 1, 1, 16);
  const auto backward = [&](const View<bfloat16>& dy, const NormInputGradient& source) {
    conv3d_backward_weight(values.data(), dy, source, view, nullptr, {16, 16, 3, 1, 1}, exec());
  };
  const InputNorm norm{.mean = values.data(), .variance = values.data()};
  EXPECT_THROW(backward(view.channels(0, 8), {view, view, norm, values.data()}), std::invalid_argument);
  EXPECT_THROW(backward(view, {view, view.channels(0, 8), norm, values.data()}), std::invalid_argument);
  EXPECT_THROW(backward(view, {view, view, {}, values.data()}), std::invalid_argument);
  const NarrowGradient no_weights{view, nullptr, view, norm, values.data()};
  EXPECT_THROW(conv3d_make_gradient(view, no_weights, exec()), std::invalid_argument);
  InputNorm later = norm;
  later.first_channel = 8;
  EXPECT_THROW(backward(view, {view, view, later, values.data()}), std::invalid_argument);
}

#endif

}  // namespace
}  // namespace vg::test
