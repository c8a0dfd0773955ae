// Convolutions with packed weights and an activation behind them: the same bits as the two one after the
// other.
#include "kernels/conv3d/conv3d_inference.h"

#include <bit>
#include <cmath>

#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d_method.h"
#include "kernels/conv_transpose3d/conv_transpose3d_inference.h"
#include "support/buffer.h"
#include "support/conv3d_check.h"
#include "support/expect_error.h"
#include "support/instruction_sets.h"

namespace vg::test {
namespace {

using namespace vg::kernels;

class Conv3dInferenceTest : public ::testing::Test {
 protected:
  Exec exec() { return {DeviceKind::cpu, nullptr, &workspace_}; }

 private:
  CpuSettings restore_;
  Workspace workspace_{DeviceKind::cpu};
};

std::vector<OutputActivation> activations(const std::vector<float>& slopes) {
  return {
      {{.kind = ActivationKind::identity}},
      {{.kind = ActivationKind::relu}},
      {{.kind = ActivationKind::leaky_relu, .negative_slope = 0.125f}},
      {{.kind = ActivationKind::prelu, .slope_count = 1}, slopes.data()},
      {{.kind = ActivationKind::prelu, .slope_count = static_cast<int64_t>(slopes.size())}, slopes.data()}};
}

// Both kinds of convolution behind one interface.
struct Plain {
  Conv3dParams params;
  static int64_t extent(int64_t e, const Conv3dParams& p) { return conv3d_output_extent(e, p); }
  void forward(View<float> y, View<const float> x, const float* weight, const float* bias,
               const Exec& exec) const {
    conv3d_forward(y, x, weight, bias, params, exec);
  }
  WeightPacking packing(const View<const float>& x, bool bfloat16 = false) const {
    return conv3d_packing(x, params, bfloat16);
  }
  int64_t floats(const WeightPacking& packing) const { return conv3d_packed_floats(packing, params); }
  void pack(float* packed, const float* weight, const WeightPacking& packing, const Exec& exec) const {
    conv3d_pack(packed, weight, packing, params, exec);
  }
  void forward(View<float> y, View<const float> x, const PackedWeights& weights, const float* bias,
               const OutputActivation& activation, const Exec& exec) const {
    conv3d_forward(y, x, weights, bias, activation, params, exec);
  }
};

struct Transposed {
  ConvTranspose3dParams params;
  static int64_t extent(int64_t e, const ConvTranspose3dParams& p) {
    return conv_transpose3d_output_extent(e, p);
  }
  void forward(View<float> y, View<const float> x, const float* weight, const float* bias,
               const Exec& exec) const {
    conv_transpose3d_forward(y, x, weight, bias, params, exec);
  }
  WeightPacking packing(const View<const float>&, bool bfloat16 = false) const {
    return conv_transpose3d_packing(params, bfloat16);
  }
  int64_t floats(const WeightPacking& packing) const {
    return conv_transpose3d_packed_floats(packing, params);
  }
  void pack(float* packed, const float* weight, const WeightPacking& packing, const Exec& exec) const {
    conv_transpose3d_pack(packed, weight, packing, params, exec);
  }
  void forward(View<float> y, View<const float> x, const PackedWeights& weights, const float* bias,
               const OutputActivation& activation, const Exec& exec) const {
    conv_transpose3d_forward(y, x, weights, bias, activation, params, exec);
  }
};

struct Extents {
  int64_t n, d, h, w;
};

template <class Convolution>
void expect_same_as_two_passes(const Convolution& convolution, const Extents& e, const Placement& placement,
                               const Exec& exec) {
  const auto& p = convolution.params;
  const int64_t taps = int64_t{p.kernel_size} * p.kernel_size * p.kernel_size;
  const int64_t d = convolution.extent(e.d, p), h = convolution.extent(e.h, p),
                w = convolution.extent(e.w, p);
  const Activation<float> x(DeviceKind::cpu, e.n, e.d, e.h, e.w, p.in_channels,
                            uniform(e.n * e.d * e.h * e.w * p.in_channels, 1), placement),
      y(DeviceKind::cpu, e.n, d, h, w, p.out_channels, placement),
      expected(DeviceKind::cpu, e.n, d, h, w, p.out_channels, placement);
  const Buffer<float> weight(DeviceKind::cpu, uniform(p.in_channels * p.out_channels * taps, 2)),
      bias(DeviceKind::cpu, uniform(p.out_channels, 3));
  const std::vector<float> slopes = uniform(p.out_channels, 4);

  const WeightPacking packing = convolution.packing(x);
  const Buffer<float> packed(DeviceKind::cpu, convolution.floats(packing));
  convolution.pack(packed.data(), weight.data(), packing, exec);
  for (const float* b : {static_cast<const float*>(bias.data()), static_cast<const float*>(nullptr)}) {
    for (const OutputActivation& activation : activations(slopes)) {
      SCOPED_TRACE(static_cast<int>(activation.params.kind));
      convolution.forward(expected, x, weight.data(), b, exec);
      activation_forward(expected, expected, activation.slope, activation.params, exec);
      convolution.forward(y, x, {packed.data(), packing}, b, activation, exec);
      EXPECT_EQ(y.get(), expected.get());
    }
  }
}

TEST_F(Conv3dInferenceTest, SameBitsAsConvolutionAndActivation) {
  const std::pair<Conv3dParams, Extents> cases[] = {
      {{4, 16, 3, 1, 1}, {1, 3, 4, 7}},   {{5, 3, 3, 1, 1}, {2, 2, 3, 5}},
      {{17, 33, 3, 1, 1}, {1, 2, 5, 23}}, {{16, 40, 3, 2, 1}, {1, 4, 6, 9}},
      {{3, 8, 1, 1, 0}, {1, 2, 3, 17}},   {{16, 4, 1, 2, 0}, {1, 3, 3, 5}},
      {{16, 16, 3, 1, 1}, {2, 2, 2, 7}},  {{32, 16, 3, 1, 1}, {1, 2, 4, 21}},
      {{16, 48, 3, 1, 1}, {1, 4, 8, 10}}};
  for (const auto method : {cpu::ConvolutionMethod::direct, cpu::ConvolutionMethod::winograd}) {
    cpu::force_convolution_method(method);
    for_each_instruction_set(DeviceKind::cpu, [&] {
      for (const auto& [params, extents] : cases) {
        for (const Placement& placement : placements())
          expect_same_as_two_passes(Plain{params}, extents, placement, exec());
      }
    });
  }
}

TEST_F(Conv3dInferenceTest, TransposedSameBitsAsConvolutionAndActivation) {
  const std::pair<ConvTranspose3dParams, Extents> cases[] = {{{16, 8, 3, 2, 1, 1}, {1, 2, 3, 5}},
                                                             {{17, 33, 3, 2, 1, 1}, {2, 1, 2, 10}},
                                                             {{5, 3, 2, 2, 0, 0}, {1, 2, 2, 7}}};
  for_each_instruction_set(DeviceKind::cpu, [&] {
    for (const auto& [params, extents] : cases) {
      for (const Placement& placement : placements())
        expect_same_as_two_passes(Transposed{params}, extents, placement, exec());
    }
  });
}

TEST_F(Conv3dInferenceTest, SameBitsForAnyNumberOfThreads) {
  for (const auto method : {cpu::ConvolutionMethod::direct, cpu::ConvolutionMethod::winograd}) {
    cpu::force_convolution_method(method);
    expect_thread_independent([&] {
      const Conv3dParams p{16, 32, 3, 1, 1};
      const Activation<float> x(DeviceKind::cpu, 1, 8, 8, 20, 16, uniform(8 * 8 * 20 * 16, 1), {1, 0, 0}),
          y(DeviceKind::cpu, 1, 8, 8, 20, 32);
      const std::vector<float> weight = uniform(16 * 32 * 27, 2), bias = uniform(32, 3);
      const WeightPacking packing = conv3d_packing(x, p);
      const Buffer<float> packed(DeviceKind::cpu, conv3d_packed_floats(packing, p));
      conv3d_pack(packed.data(), weight.data(), packing, p, exec());
      conv3d_forward(y, x, {packed.data(), packing}, bias.data(), {{.kind = ActivationKind::relu}}, p,
                     exec());
      return y.get();
    });
  }
}

TEST_F(Conv3dInferenceTest, RefusesWeightsPackedForOthers) {
  const Conv3dParams p{16, 16, 3, 1, 1};
  const Activation<float> x(DeviceKind::cpu, 1, 4, 4, 8, 16, uniform(4 * 4 * 8 * 16, 1), {1, 0, 0}),
      y(DeviceKind::cpu, 1, 4, 4, 8, 16);
  cpu::force_convolution_method(cpu::ConvolutionMethod::winograd);
  const WeightPacking winograd = conv3d_packing(x, p);
  const std::vector<float> values(static_cast<size_t>(conv3d_packed_floats(winograd, p)));
  const auto forward = [&](const WeightPacking& packing, const OutputActivation& activation) {
    conv3d_forward(y, x, {values.data(), packing}, nullptr, activation, p, exec());
  };
  EXPECT_EQ(winograd.order, WeightOrder::winograd_4x4);
  forward(winograd, {});
  expect_error<std::invalid_argument>(
      [&] {
        forward({winograd.isa, WeightOrder::winograd_2x4}, {});
      },
      {"conv3d_forward", "packed for inputs of another shape"});
  cpu::force_convolution_method(cpu::ConvolutionMethod::direct);
  expect_error<std::invalid_argument>([&] { forward(winograd, {}); }, {"packed for inputs of another shape"});
  const WeightPacking direct = conv3d_packing(x, p);
  for (const cpu::Isa isa : {cpu::Isa::portable, cpu::Isa::avx2, cpu::Isa::avx512}) {
    if (isa == cpu::active_isa()) continue;
    expect_error<std::invalid_argument>(
        [&] {
          forward({isa, direct.order}, {});
        },
        {"conv3d_forward: the weights are packed for ", cpu::isa_name(isa)});
  }
  const float slope = 0;
  expect_error<std::invalid_argument>([&] { forward(direct, {{.kind = ActivationKind::sigmoid}}); },
                                      {"sigmoid"});
  expect_error<std::invalid_argument>([&] { forward(direct, {{.kind = ActivationKind::prelu}}); }, {"slope"});
  expect_error<std::invalid_argument>(
      [&] {
        forward(direct, {{.kind = ActivationKind::relu}, &slope});
      },
      {"slope"});
  expect_error<std::invalid_argument>(
      [&] {
        forward(direct, {{.kind = ActivationKind::prelu, .slope_count = 3}, &slope});
      },
      {"3 slopes, expected 1 or 16"});
  Exec on_cuda = exec();
  on_cuda.device = DeviceKind::cuda;
  expect_error<std::invalid_argument>(
      [&] {
        conv3d_forward(y, x, {values.data(), direct}, nullptr, {}, p, on_cuda);
      },
      {"packed weights are for the CPU"});
}

// Products in bfloat16. The oracle gets rounded operands; where these stay as they are, results are those of
// float sums.
std::vector<float> rounded(std::vector<float> values) {
  for (float& v : values) v = to_float(to_bfloat16(v));
  return values;
}

// Calls body() under each instruction set that has such products on this processor.
template <class Body>
void for_each_bfloat16_instruction_set(const Body& body) {
  for_each_instruction_set(DeviceKind::cpu, [&] {
    if (cpu::active_isa() != cpu::Isa::avx512 || has_fast_bfloat16_products()) body();
  });
}

template <class Convolution>
std::vector<float> run_bfloat16(const Convolution& convolution, const Extents& e, const std::vector<float>& x,
                                const std::vector<float>& weight, const std::vector<float>& bias,
                                const Placement& placement, const Exec& exec) {
  const auto& p = convolution.params;
  const Activation<float> in(DeviceKind::cpu, e.n, e.d, e.h, e.w, p.in_channels, x, placement),
      y(DeviceKind::cpu, e.n, convolution.extent(e.d, p), convolution.extent(e.h, p),
        convolution.extent(e.w, p), p.out_channels, placement);
  const WeightPacking packing = convolution.packing(in, true);
  EXPECT_TRUE(packing.bfloat16);
  const Buffer<float> packed(DeviceKind::cpu, convolution.floats(packing));
  convolution.pack(packed.data(), weight.data(), packing, exec);
  convolution.forward(y, in, {packed.data(), packing}, bias.data(), {}, exec);
  return y.get();
}

// `growth`: by how much rounding errors exceed those of float sums.
template <class Convolution>
void expect_bfloat16_close(const Convolution& convolution, const Extents& e, bool exact, double growth,
                           const Exec& exec) {
  const ConvOracle oracle(convolution.params, e.n, e.d, e.h, e.w);
  const auto data = [&](int64_t count, uint32_t seed) {
    return exact ? integers(count, seed) : uniform(count, seed);
  };
  const std::vector<float> x = data(oracle.x().count(), 1), weight = data(oracle.weights(), 2),
                           bias = data(oracle.y().c, 3);
  const std::vector<double> expected = oracle.forward(rounded(x), rounded(weight), bias);
  const double tolerance = exact ? 0 : growth * float_tolerance(oracle.forward_length() + 1);
  for_each_bfloat16_instruction_set([&] {
    for (const Placement& placement : placements()) {
      EXPECT_TRUE(
          all_close(run_bfloat16(convolution, e, x, weight, bias, placement, exec), expected, tolerance))
          << "channels " << convolution.params.in_channels << ", width " << e.w;
    }
  });
}

const std::pair<Conv3dParams, Extents> direct_cases[] = {
    {{4, 16, 3, 1, 1}, {1, 3, 4, 7}},  {{5, 3, 3, 1, 1}, {2, 2, 3, 5}},  {{17, 33, 3, 1, 1}, {1, 2, 5, 23}},
    {{16, 40, 3, 2, 1}, {1, 4, 6, 9}}, {{40, 8, 3, 2, 1}, {1, 3, 5, 7}}, {{1, 1, 3, 1, 0}, {1, 3, 3, 3}}};
const std::pair<ConvTranspose3dParams, Extents> transposed_cases[] = {{{16, 8, 3, 2, 1, 1}, {1, 2, 3, 5}},
                                                                      {{17, 33, 3, 2, 1, 1}, {2, 1, 2, 10}}};

TEST_F(Conv3dInferenceTest, Bfloat16ProductsOfIntegersAreExact) {
  cpu::force_convolution_method(cpu::ConvolutionMethod::direct);
  for (const auto& [params, extents] : direct_cases)
    expect_bfloat16_close(Plain{params}, extents, true, 1, exec());
  for (const auto& [params, extents] : transposed_cases)
    expect_bfloat16_close(Transposed{params}, extents, true, 1, exec());
  // Winograd's transforms with tiles of two have powers of two for factors.
  cpu::force_convolution_method(cpu::ConvolutionMethod::winograd);
  for (const int64_t channels : {16, 48, 64})
    expect_bfloat16_close(Plain{{channels, 32, 3, 1, 1}}, {1, 2, 6, 11}, true, 1, exec());
}

TEST_F(Conv3dInferenceTest, Bfloat16ProductsOfFloatsAreThoseOfRoundedOperands) {
  cpu::force_convolution_method(cpu::ConvolutionMethod::direct);
  for (const auto& [params, extents] : direct_cases)
    expect_bfloat16_close(Plain{params}, extents, false, 1, exec());
  for (const auto& [params, extents] : transposed_cases)
    expect_bfloat16_close(Transposed{params}, extents, false, 1, exec());
  // With Winograd the transforms are rounded instead, to 2^-9 in the place of 2^-24; tiles of four amplify
  // that by 2.7 along each axis (conv3d_winograd_test.cpp). float_tolerance has a safety factor of eight.
  cpu::force_convolution_method(cpu::ConvolutionMethod::winograd);
  const double rounding = 0x1p15 / 4;
  expect_bfloat16_close(Plain{{16, 16, 3, 1, 1}}, {1, 2, 2, 9}, false, 1.5 * 1.5 * rounding, exec());
  expect_bfloat16_close(Plain{{32, 16, 3, 1, 1}}, {1, 2, 4, 21}, false, 1.5 * 2.7 * rounding, exec());
  expect_bfloat16_close(Plain{{16, 48, 3, 1, 1}}, {1, 4, 8, 20}, false, 2.7 * 2.7 * rounding, exec());
}

TEST_F(Conv3dInferenceTest, Bfloat16ProductsHaveTheSameBitsForAnyNumberOfThreads) {
  if (cpu::active_isa() == cpu::Isa::avx512 && !has_fast_bfloat16_products()) cpu::force_isa(cpu::Isa::avx2);
  const auto x = uniform(8 * 8 * 20 * 16, 1), weight = uniform(16 * 32 * 27, 2), bias = uniform(32, 3);
  for (const auto method : {cpu::ConvolutionMethod::direct, cpu::ConvolutionMethod::winograd}) {
    cpu::force_convolution_method(method);
    const auto run = [&](int threads) {
      omp_set_num_threads(threads);
      return run_bfloat16(Plain{{16, 32, 3, 1, 1}}, {1, 8, 8, 20}, x, weight, bias, {1, 0, 0}, exec());
    };
    const std::vector<float> expected = run(1);
    for (const int threads : {2, 3, 8}) EXPECT_EQ(run(threads), expected) << threads;
  }
}

TEST_F(Conv3dInferenceTest, Bfloat16ProductsPassNaNOn) {
  // Payloads that rounding like a number's would turn into infinity and into -0.
  for (const uint32_t bits : {0x7F800001u, 0x7FFFFFFFu}) {
    std::vector<float> x(4 * 27, 1.0f);
    x[4 * 13] = std::bit_cast<float>(bits);
    const std::vector<float> weight(4 * 4 * 27, 1.0f), bias(4, 0.0f);
    for (const auto method : {cpu::ConvolutionMethod::direct, cpu::ConvolutionMethod::winograd}) {
      cpu::force_convolution_method(method);
      for_each_bfloat16_instruction_set([&] {
        for (const float y :
             run_bfloat16(Plain{{4, 4, 3, 1, 1}}, {1, 3, 3, 3}, x, weight, bias, {1, 0, 0}, exec()))
          EXPECT_TRUE(std::isnan(y)) << y;
      });
    }
  }
}

TEST_F(Conv3dInferenceTest, Bfloat16ProductsAreNotForKernelsOfOne) {
  const Activation<float> x(DeviceKind::cpu, 1, 2, 2, 2, 16);
  if (cpu::active_isa() == cpu::Isa::avx512 && !has_fast_bfloat16_products()) {
    expect_error<std::invalid_argument>(
        [&] {
          (void)conv3d_packing(x, {16, 16, 3, 1, 1}, true);
        },
        {"no AVX512_BF16"});
    return;
  }
  EXPECT_FALSE(conv3d_packing(x, {16, 4, 1, 1, 0}, true).bfloat16);
  EXPECT_TRUE(conv3d_packing(x, {16, 4, 3, 1, 1}, true).bfloat16);
  EXPECT_FALSE(conv3d_packing(x, {16, 4, 3, 1, 1}).bfloat16);
}

}  // namespace
}  // namespace vg::test
