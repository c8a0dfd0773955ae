// A convolution that makes its input from a skip connection, an attention gate's scores and the rest as it
// reads them, against one of an input that gate and copy have stored: the same bits.
#include "kernels/conv3d/conv3d_gated.h"

#include <memory>

#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d_halo_tile.h"
#include "kernels/elementwise/elementwise.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/random_data.h"
#ifdef VOXGRAD_WITH_CUDA
#include "kernels/conv3d/conv3d_gated_cuda.h"
#endif

namespace vg::test {
namespace {

using namespace vg::kernels;

TEST(Conv3dGatedChoiceTest, IsThatOfTheMergesOfWideLevels) {
  EXPECT_TRUE(conv3d_applies_gate({32, 16, 3, 1, 1}, 80));
  EXPECT_TRUE(conv3d_applies_gate({64, 32, 3, 1, 1}, 4));
  EXPECT_TRUE(conv3d_applies_gate({64, 16, 3, 1, 1}, 4));
  for (const Conv3dParams& p : {Conv3dParams{32, 16, 3, 2, 1},
                                {32, 16, 1, 1, 0},
                                {32, 16, 3, 1, 0},
                                {16, 16, 3, 1, 1},
                                {48, 16, 3, 1, 1},
                                {128, 64, 3, 1, 1}})
    EXPECT_FALSE(conv3d_applies_gate(p, 80)) << p.in_channels << "->" << p.out_channels;
  EXPECT_FALSE(conv3d_applies_gate({32, 16, 3, 1, 1}, 81));
  EXPECT_FALSE(conv3d_applies_gate({32, 16, 3, 1, 1}, 78));
}

TEST(Conv3dGatedChoiceTest, TwoBlocksFitAMultiprocessor) {
  // Planes, weights, the norms' parameters and two parts of scores; 1 KiB is the system's.
  EXPECT_LE(2 * (halo_tiles[2].shared_bytes() + 4 * 112 + 2 * 3 * 24 * 4 + 1024), 164 * 1024);
  EXPECT_LE(2 * (halo_tiles[7].shared_bytes() + 8 * 112 + 2 * 2 * 16 * 4 + 1024), 164 * 1024);
  EXPECT_LE(2 * (HaloWgradTile{}.shared_bytes_of_gradient() + 2 * 34 * 16 * 4 + 1024 + 1024), 164 * 1024);
}

#ifdef VOXGRAD_WITH_CUDA

using Conv3dGatedTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dGatedTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

enum class Source { stored, norm, narrow, narrow_and_both };  // both gradients at once

struct Case {
  int64_t channels, out;
  int64_t n, d, h, w;
  Source source = Source::norm;
  bool kept = true;
  Placement place = {}, place_of_rest = {}, place_of_scores = {};
  ActivationKind activation = ActivationKind::relu;
  int multiprocessors = 0;  ///< for so many by the kernels themselves, if not 0: longer marches
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

struct Results {
  std::vector<uint16_t> y, dy, dx;
  std::vector<float> scores, of_psi, mean, variance, dweight;
  bool operator==(const Results&) const = default;
};

// The norms' parameters differ, so that a mix-up is seen.
struct Norm {
  Norm(const Case& c, uint32_t seed, DeviceKind device)
      : mean(device, uniform(c.channels, seed)),
        variance(device, uniform(c.channels, seed + 1, 0.5f, 2)),
        gamma(device, uniform(c.channels, seed + 2, -1, 2)),
        beta(device, uniform(c.channels, seed + 3, 0.5f, 1)),
        input{.mean = mean.data(),
              .variance = variance.data(),
              .gamma = gamma.data(),
              .beta = beta.data(),
              .params = {.activation = {.kind = c.activation, .negative_slope = 0.25f}}} {}
  Buffer<float> mean, variance, gamma, beta;
  InputNorm input;
};

Results run(const Case& c, bool stored, const Exec& exec) {
  const DeviceKind device = exec.device;
  const int64_t voxels = c.n * c.d * c.h * c.w, f = c.channels / 2, in = 2 * c.channels;
  const auto activation = [&](int64_t channels, uint32_t seed, const Placement& place) {
    return std::make_unique<Activation<bfloat16>>(device, c.n, c.d, c.h, c.w, channels,
                                                  rounded(uniform(voxels * channels, seed, -2, 3)), place);
  };
  const auto floats = [&](int64_t count, uint32_t seed, float low = -1, float high = 1) {
    return std::make_unique<Buffer<float>>(device, uniform(count, seed, low, high));
  };
  const auto skip = activation(c.channels, 1, c.place), rest = activation(c.channels, 2, c.place_of_rest),
             source_dy = activation(c.out, 3, {}), source_x = activation(c.out, 4, {}),
             narrow = activation(4, 5, {});
  const Activation<float> scores(device, c.n, c.d, c.h, c.w, 1, c.place_of_scores);
  const Activation<bfloat16> y(device, c.n, c.d, c.h, c.w, c.out), made(device, c.n, c.d, c.h, c.w, c.out),
      both(device, c.n, c.d, c.h, c.w, in), dx(device, c.n, c.d, c.h, c.w, in);
  const Norm of_skip(c, 10, device), of_rest(c, 20, device);
  const auto w_g = floats(f * c.channels, 30), w_x = floats(f * c.channels, 31), w_psi = floats(f, 32),
             vectors = floats(6 * f, 33, 0.5f, 1), of_psi = floats(3, 34, 0.5f, 1.5f),
             statistics = floats(4 * f + 2, 35);
  const auto at = [](const auto& buffer, int64_t i) { return buffer->data() + i; };
  const AttentionGateWeights weights{w_g->data(),        at(vectors, 0),     at(vectors, f),
                                     at(vectors, 2 * f), w_x->data(),        at(vectors, 3 * f),
                                     at(vectors, 4 * f), at(vectors, 5 * f), w_psi->data(),
                                     at(of_psi, 0),      at(of_psi, 1),      at(of_psi, 2)};
  const AttentionGateStatistics of_gate{at(statistics, 0),     at(statistics, f),
                                        at(statistics, 2 * f), at(statistics, 3 * f),
                                        at(statistics, 4 * f), at(statistics, 4 * f + 1)};
  const AttentionGateParams gate{.gate_channels = c.channels,
                                 .skip_channels = c.channels,
                                 .intermediate_channels = f,
                                 .norm_of_g = of_rest.input,
                                 .norm_of_x = of_skip.input};
  const View<bfloat16> gated = both.view().channels(0, c.channels);
  attention_gate_forward(stored ? gated : View<bfloat16>(), scores.view(), of_gate, *rest, *skip, weights,
                         gate, exec);

  const auto weight = floats(in * c.out * 27, 40, -0.1f, 0.1f), bias = floats(c.out, 41),
             mean = floats(c.out, 42), variance = floats(c.out, 43), dweight = floats(in * c.out * 27, 44),
             means = floats(2 * c.out, 45, -0.1f, 0.1f), narrow_weight = floats(4 * c.out, 46);
  const Case of_y{.channels = c.out, .out = 0, .n = 0, .d = 0, .h = 0, .w = 0};
  const Norm behind(of_y, 50, device);
  const OutputStatistics of_result{mean->data(), variance->data(), false};
  const Conv3dParams params{in, c.out, 3, 1, 1};
  const View<bfloat16> to = c.kept ? made.view() : View<bfloat16>();
  const auto compute = [&](const auto& forward, const auto& backward_weight, const auto& backward) {
    forward();
    if (c.source == Source::stored) return backward_weight(View<const bfloat16>(*source_dy));
    if (c.source == Source::norm)
      return backward_weight(NormInputGradient{*source_dy, *source_x, behind.input, means->data()});
    const NarrowGradient source{*narrow, narrow_weight->data(), *source_x, behind.input, means->data()};
    if (c.source == Source::narrow) return backward_weight(source);
    backward(source);
  };
  if (stored) {
    copy(both.view().channels(c.channels, in), *rest, exec);
    InputNorm norm = of_rest.input;
    norm.first_channel = c.channels;
    compute(
        [&] { conv3d_forward(y.view(), &of_result, both, norm, weight->data(), bias->data(), params, exec); },
        [&]<class S>(const S& source) {
          if constexpr (std::is_same_v<S, View<const bfloat16>>) {
            conv3d_backward_weight(dweight->data(), source, both, norm, params, exec);
          } else {
            conv3d_backward_weight(dweight->data(), to, source, both, &norm, params, exec);
          }
        },
        [&](const NarrowGradient& source) {
          conv3d_backward(dx.view(), dweight->data(), to, source, both, &norm, weight->data(), params, exec);
        });
  } else {
    const GatedInput x{*skip, scores, of_gate, weights, gate, *rest, of_rest.input};
    if (c.multiprocessors > 0) {
      cuda::conv3d_forward_halo_tile(y, x, weight->data(), bias->data(), params, c.multiprocessors, exec,
                                     of_result);
      const NormInputGradient of_norm{*source_dy, *source_x, behind.input, means->data()};
      const NarrowGradient of_narrow{*narrow, narrow_weight->data(), *source_x, behind.input, means->data()};
      if (c.source == Source::norm)
        cuda::conv3d_backward_weight_halo_tile(dweight->data(), *source_dy, x, c.multiprocessors, exec,
                                               of_norm, to);
      if (c.source == Source::narrow)
        cuda::conv3d_backward_weight_halo_tile(dweight->data(), of_narrow, x, c.multiprocessors, exec, to);
      if (c.source == Source::narrow_and_both)
        cuda::conv3d_backward_halo_tile(dx, dweight->data(), of_narrow, x, weight->data(), c.multiprocessors,
                                        exec);
    } else {
      compute([&] { conv3d_forward(y.view(), of_result, x, weight->data(), bias->data(), params, exec); },
              [&]<class S>(const S& source) {
                if constexpr (std::is_same_v<S, View<const bfloat16>>) {
                  conv3d_backward_weight(dweight->data(), source, x, params, exec);
                } else {
                  conv3d_backward_weight(dweight->data(), to, source, x, params, exec);
                }
              },
              [&](const NarrowGradient& source) {
                conv3d_backward(dx.view(), dweight->data(), to, source, x, weight->data(), params, exec);
              });
    }
  }
  // Where both gradients are made at once, its place need not be used.
  const bool makes = c.kept && (c.source == Source::norm || c.source == Source::narrow),
             makes_both = c.source == Source::narrow_and_both;
  return {bits(y.get()),
          makes ? bits(made.get()) : std::vector<uint16_t>(),
          makes_both ? bits(dx.get()) : std::vector<uint16_t>(),
          scores.get(),
          statistics->get(),
          mean->get(),
          variance->get(),
          dweight->get()};
}

void expect_same_bits(const Case& c, const Exec& exec) {
  SCOPED_TRACE(::testing::Message() << c.channels << "->" << c.out << " of " << c.n << ',' << c.d << ','
                                    << c.h << ',' << c.w << " source " << static_cast<int>(c.source));
  const Results made = run(c, false, exec), expected = run(c, true, exec);
  EXPECT_EQ(made.scores, expected.scores);
  EXPECT_EQ(made.of_psi, expected.of_psi);
  EXPECT_EQ(made.y, expected.y);
  EXPECT_EQ(made.mean, expected.mean);
  EXPECT_EQ(made.variance, expected.variance);
  EXPECT_EQ(made.dweight, expected.dweight);
  EXPECT_EQ(made.dy, expected.dy);
  EXPECT_EQ(made.dx, expected.dx);
}

TEST_P(Conv3dGatedTest, ReadsWhatGateAndNormWouldStore) {
  const Case cases[] = {
      {.channels = 16, .out = 16, .n = 2, .d = 5, .h = 3, .w = 8, .source = Source::narrow},
      {.channels = 16, .out = 16, .n = 1, .d = 4, .h = 19, .w = 20, .source = Source::stored},
      {.channels = 16, .out = 16, .n = 1, .d = 1, .h = 1, .w = 4, .kept = false},
      {.channels = 32, .out = 32, .n = 1, .d = 4, .h = 17, .w = 12},
      {.channels = 32, .out = 16, .n = 2, .d = 2, .h = 5, .w = 4, .source = Source::stored},
      {.channels = 16,
       .out = 32,
       .n = 1,
       .d = 4,
       .h = 5,
       .w = 8,
       .place = {1, 16, 8},
       .place_of_rest = {1, 8, 16}}};
  for (const Case& c : cases) expect_same_bits(c, exec());
}

TEST_P(Conv3dGatedTest, BothGradientsAreThoseOfWhatGateAndNormWouldStore) {
  const Case cases[] = {
      {.channels = 16, .out = 16, .n = 2, .d = 5, .h = 3, .w = 20, .source = Source::narrow_and_both},
      {.channels = 16, .out = 16, .n = 1, .d = 3, .h = 33, .w = 4, .source = Source::narrow_and_both},
      {.channels = 16, .out = 16, .n = 1, .d = 1, .h = 1, .w = 16, .source = Source::narrow_and_both},
      {.channels = 16,
       .out = 16,
       .n = 1,
       .d = 2,
       .h = 5,
       .w = 8,
       .source = Source::narrow_and_both,
       .place = {1, 16, 8},
       .place_of_rest = {1, 8, 16}}};
  for (const Case& c : cases) expect_same_bits(c, exec());
}

// Planes and scores go round in shared memory. The sums of a march are added in another order.
TEST_P(Conv3dGatedTest, LongMarchesGiveTheSame) {
  for (const Source source : {Source::narrow_and_both, Source::narrow, Source::norm}) {
    for (const int64_t channels : {16, 32}) {
      if (channels > 16 && source != Source::norm) continue;
      SCOPED_TRACE(::testing::Message() << "source " << static_cast<int>(source) << ' ' << channels);
      Case c{.channels = channels, .out = channels, .n = 2, .d = 7, .h = 3, .w = 8, .source = source};
      const Results expected = run(c, false, exec());
      c.multiprocessors = 2;
      const Results found = run(c, false, exec());
      EXPECT_EQ(found.y, expected.y);
      EXPECT_EQ(found.dx, expected.dx);
      EXPECT_EQ(found.dy, expected.dy);
      EXPECT_TRUE(all_close(found.dweight, expected.dweight, 1e-4, 1e-4));
    }
  }
}

// Rows of scores that do not begin at 16 bytes, tensors that lie otherwise, other activations and channels.
TEST_P(Conv3dGatedTest, OthersArePassedThroughMemory) {
  const Case cases[] = {
      {.channels = 16, .out = 16, .n = 2, .d = 2, .h = 3, .w = 5},
      {.channels = 16, .out = 16, .n = 1, .d = 2, .h = 3, .w = 4, .place_of_scores = {1, 0, 0}},
      {.channels = 16,
       .out = 16,
       .n = 1,
       .d = 2,
       .h = 2,
       .w = 4,
       .source = Source::narrow,
       .place_of_rest = {0, 16, 0}},
      {.channels = 16, .out = 16, .n = 1, .d = 2, .h = 3, .w = 6, .source = Source::narrow_and_both},
      {.channels = 16, .out = 16, .n = 1, .d = 2, .h = 2, .w = 4, .activation = ActivationKind::leaky_relu},
      {.channels = 64, .out = 64, .n = 1, .d = 2, .h = 2, .w = 4, .source = Source::stored},
      {.channels = 8, .out = 16, .n = 1, .d = 2, .h = 3, .w = 8, .source = Source::stored},
      {.channels = 8,
       .out = 3,
       .n = 1,
       .d = 2,
       .h = 2,
       .w = 4,
       .source = Source::stored,
       .place = {0, 3, 2}}};
  for (const Case& c : cases) expect_same_bits(c, exec());
}

TEST_P(Conv3dGatedTest, WrongArgumentsAreErrors) {
  const Buffer<bfloat16> memory(device(), 64);
  const Buffer<float> values(device(), 32 * 16 * 27);
  const View<bfloat16> view = contiguous_view(memory.data(), 1, 1, 1, 1, 16);
  const InputNorm norm{.mean = values.data(), .variance = values.data()};
  GatedInput good{.skip = view,
                  .scores = contiguous_view(values.data(), 1, 1, 1, 1, 1),
                  .statistics = {},
                  .weights = {},
                  .gate = {.norm_of_x = norm},
                  .rest = view,
                  .norm_of_rest = norm};
  good.statistics.mean_psi = good.statistics.variance_psi = values.data();
  good.weights.gamma_psi = good.weights.beta_psi = values.data();
  const auto expect_error = [&](const auto& spoil) {
    GatedInput x = good;
    spoil(x);
    EXPECT_THROW(conv3d_backward_weight(values.data(), view, x, {32, 16, 3, 1, 1}, exec()),
                 std::invalid_argument);
    EXPECT_THROW(conv3d_forward(view, {values.data(), values.data()}, x, values.data(), nullptr,
                                {32, 16, 3, 1, 1}, exec()),
                 std::invalid_argument);
  };
  expect_error([](GatedInput& x) { x.rest = x.rest.channels(0, 8); });
  expect_error([](GatedInput& x) { x.scores.w = 2; });
  expect_error([](GatedInput& x) { x.norm_of_rest.mean = nullptr; });
  expect_error([](GatedInput& x) { x.gate.norm_of_x.first_channel = 8; });
  expect_error([](GatedInput& x) { x.statistics.mean_psi = nullptr; });
  expect_error([](GatedInput& x) { x.weights.gamma_psi = nullptr; });
}

#endif

}  // namespace
}  // namespace vg::test
