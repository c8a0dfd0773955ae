// Convolutions with packed weights and an activation behind them: the same bits as the two one after the
// other.
#include "kernels/conv3d/conv3d_inference.h"

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
  WeightPacking packing(const View<const float>& x) const { return conv3d_packing(x, params); }
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
  WeightPacking packing(const View<const float>&) const { return conv_transpose3d_packing(); }
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
  const std::vector<float> values(16 * 16 * 36 * 3);
  const auto forward = [&](const WeightPacking& packing, const OutputActivation& activation) {
    conv3d_forward(y, x, {values.data(), packing}, nullptr, activation, p, exec());
  };
  cpu::force_convolution_method(cpu::ConvolutionMethod::winograd);
  const WeightPacking winograd = conv3d_packing(x, p);
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

}  // namespace
}  // namespace vg::test
