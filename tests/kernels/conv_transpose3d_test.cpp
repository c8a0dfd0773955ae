#include "kernels/conv_transpose3d/conv_transpose3d.h"

#include "support/buffer.h"
#include "support/compare.h"
#include "support/conv_oracle.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
namespace cpu = vg::kernels::cpu;
using ConvTranspose3dTest = DeviceTest;
VG_ON_EVERY_DEVICE(ConvTranspose3dTest);

struct Case {
  ConvTranspose3dParams params;
  int64_t n, d, h, w;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << '[' << c.n << ',' << c.d << ',' << c.h << ',' << c.w << "] channels " << c.params.in_channels
             << "->" << c.params.out_channels << " kernel " << c.params.kernel_size;
}

constexpr ConvTranspose3dParams kernel3(int64_t in, int64_t out) {
  return {in, out, 3, 2, 1, 1};
}
constexpr ConvTranspose3dParams kernel2(int64_t in, int64_t out) {
  return {in, out, 2, 2, 0, 0};
}

// Small enough for a slow device.
const Case small_cases[] = {
    {kernel3(1, 1), 1, 1, 1, 1},  {kernel3(16, 8), 1, 2, 3, 5}, {kernel3(5, 3), 2, 3, 2, 7},
    {kernel3(8, 16), 1, 1, 2, 3}, {kernel3(4, 17), 1, 2, 2, 2}, {kernel2(1, 1), 1, 1, 1, 1},
    {kernel2(16, 8), 1, 2, 3, 5}, {kernel2(3, 5), 2, 1, 2, 7},  {kernel2(24, 4), 1, 2, 1, 3},
};
// Shapes that reach every tile of the CPU's kernels and their tails.
const Case cpu_cases[] = {
    {kernel3(32, 16), 1, 3, 5, 23}, {kernel3(17, 33), 2, 2, 3, 10}, {kernel3(16, 40), 1, 3, 9, 5},
    {kernel2(32, 16), 1, 3, 5, 23}, {kernel2(17, 33), 2, 2, 3, 10}, {kernel3(64, 32), 1, 2, 2, 40},
};

// Runs all functions and compares with the oracle: exactly for integers, else with the tolerance of the
// sums' lengths.
class Check {
 public:
  Check(const Case& c, DeviceKind device, const Exec& exec, bool exact)
      : case_(c), device_(device), exec_(exec), exact_(exact), oracle_(c.params, c.n, c.d, c.h, c.w) {
    x_ = data(oracle_.x().count(), 1);
    dy_ = data(oracle_.y().count(), 2);
    weight_ = data(oracle_.weights(), 3);
    bias_ = data(oracle_.y().c, 4);
    y_with_bias_ = oracle_.forward(x_, weight_, bias_);
    y_without_bias_ = oracle_.forward(x_, weight_, std::vector<float>());
    dx_ = oracle_.backward_input(dy_, weight_);
    dweight_ = oracle_.backward_weight(dy_, x_);
    // Accumulates: the gradient starts from the weights' own values.
    for (size_t i = 0; i < dweight_.size(); ++i) dweight_[i] += static_cast<double>(weight_[i]);
  }

  // x_place and y_place: placements of the side of the input and of the output.
  void run(const Placement& x_place, const Placement& y_place) const {
    SCOPED_TRACE(::testing::Message()
                 << case_ << " halo " << x_place.halo << ' ' << y_place.halo << " channels before "
                 << x_place.channels_before << ' ' << y_place.channels_before);
    const auto &xe = oracle_.x(), &ye = oracle_.y();
    const Activation<float> x(device_, xe.n, xe.d, xe.h, xe.w, xe.c, x_, x_place),
        dy(device_, ye.n, ye.d, ye.h, ye.w, ye.c, dy_, y_place);
    const Activation<float> y(device_, ye.n, ye.d, ye.h, ye.w, ye.c, y_place),
        dx(device_, xe.n, xe.d, xe.h, xe.w, xe.c, x_place);
    const Buffer<float> weight(device_, weight_), bias(device_, bias_), dweight(device_, weight_);

    conv_transpose3d_forward(y, x, weight.data(), bias.data(), case_.params, exec_);
    EXPECT_TRUE(close(y.get(), y_with_bias_, oracle_.forward_length()));
    conv_transpose3d_forward(y, x, weight.data(), nullptr, case_.params, exec_);
    EXPECT_TRUE(close(y.get(), y_without_bias_, oracle_.forward_length()));
    conv_transpose3d_backward_input(dx, dy, weight.data(), case_.params, exec_);
    EXPECT_TRUE(close(dx.get(), dx_, oracle_.backward_input_length()));
    conv_transpose3d_backward_weight(dweight.data(), dy, x, case_.params, exec_);
    EXPECT_TRUE(close(dweight.get(), dweight_, oracle_.backward_weight_length()));
  }

 private:
  std::vector<float> data(int64_t count, uint32_t seed) const {
    return exact_ ? integers(count, seed) : uniform(count, seed);
  }
  ::testing::AssertionResult close(const std::vector<float>& actual, const std::vector<double>& expected,
                                   int64_t length) const {
    return all_close(actual, expected, exact_ ? 0 : float_tolerance(length + 1), exact_ ? 0 : 1e-6);
  }

  Case case_;
  DeviceKind device_;
  Exec exec_;
  bool exact_;
  ConvOracle oracle_;
  std::vector<float> x_, dy_, weight_, bias_;
  std::vector<double> y_with_bias_, y_without_bias_, dx_, dweight_;
};

TEST_P(ConvTranspose3dTest, IntegersAreExactOnEveryPlacement) {
  for (const Case& c : small_cases) {
    const Check check(c, device(), exec(), true);
    for (const Placement& p : placements()) {
      check.run(p, p);
      check.run(p, {});
    }
  }
}

TEST_P(ConvTranspose3dTest, RandomFloatsAreWithinTolerance) {
  for (const Case& c : small_cases) Check(c, device(), exec(), false).run({1, 0, 0}, {1, 0, 0});
}

TEST_P(ConvTranspose3dTest, WrongArgumentsAreErrors) {
  const Activation<float> x(device(), 1, 2, 2, 2, 3), y(device(), 1, 4, 4, 4, 5),
      odd(device(), 1, 4, 4, 3, 5);
  const Buffer<float> weight(device(), 3 * 5 * 27);
  const auto forward = [&](const View<float>& out, const ConvTranspose3dParams& p) {
    conv_transpose3d_forward(out, x, weight.data(), nullptr, p, exec());
  };
  EXPECT_THROW(forward(y, kernel3(4, 5)), std::invalid_argument);
  EXPECT_THROW(forward(y, kernel3(3, 6)), std::invalid_argument);
  EXPECT_THROW(forward(odd, kernel3(3, 5)), std::invalid_argument);
  EXPECT_THROW(forward(y, {3, 5, 3, 2, 1, 0}), std::invalid_argument);
  EXPECT_THROW(forward(y, {3, 5, 3, 1, 1, 0}), std::invalid_argument);
  EXPECT_THROW(conv_transpose3d_forward(y, x, nullptr, nullptr, kernel3(3, 5), exec()),
               std::invalid_argument);
  EXPECT_THROW(conv_transpose3d_backward_input(x, x, weight.data(), kernel3(3, 5), exec()),
               std::invalid_argument);
  EXPECT_THROW(conv_transpose3d_backward_weight(weight.data(), x, x, kernel2(3, 5), exec()),
               std::invalid_argument);
}

TEST(ConvTranspose3dCpuTest, EveryInstructionSetIsExact) {
  const CpuSettings restore;
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  const auto run = [&](const Case& c) {
    const Check check(c, DeviceKind::cpu, exec, true);
    for (const cpu::Isa isa : {cpu::Isa::portable, cpu::Isa::avx2, cpu::Isa::avx512}) {
      if (!cpu::isa_supported(isa)) continue;
      SCOPED_TRACE(cpu::isa_name(isa));
      cpu::force_isa(isa);
      check.run({1, 0, 0}, {1, 3, 2});
      check.run({0, 1, 0}, {0, 0, 0});
    }
  };
  for (const Case& c : cpu_cases) run(c);
  for (const Case& c : small_cases) run(c);
}

TEST(ConvTranspose3dCpuTest, SameBitsForAnyNumberOfThreads) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  for (const Case& c : {cpu_cases[0], cpu_cases[4]}) {
    SCOPED_TRACE(::testing::Message() << c);
    const ConvOracle oracle(c.params, c.n, c.d, c.h, c.w);
    const auto &xe = oracle.x(), &ye = oracle.y();
    const Activation<float> x(DeviceKind::cpu, xe.n, xe.d, xe.h, xe.w, xe.c, uniform(xe.count(), 1),
                              {1, 0, 0}),
        dy(DeviceKind::cpu, ye.n, ye.d, ye.h, ye.w, ye.c, uniform(ye.count(), 2), {1, 0, 0}),
        y(DeviceKind::cpu, ye.n, ye.d, ye.h, ye.w, ye.c), dx(DeviceKind::cpu, xe.n, xe.d, xe.h, xe.w, xe.c);
    const auto weights = uniform(oracle.weights(), 3);
    const Buffer<float> weight(DeviceKind::cpu, weights);
    expect_thread_independent([&] {
      const Buffer<float> dweight(DeviceKind::cpu, weights);
      conv_transpose3d_forward(y, x, weight.data(), nullptr, c.params, exec);
      conv_transpose3d_backward_input(dx, dy, weight.data(), c.params, exec);
      conv_transpose3d_backward_weight(dweight.data(), dy, x, c.params, exec);
      return std::vector<std::vector<float>>{y.get(), dx.get(), dweight.get()};
    });
  }
}

}  // namespace
}  // namespace vg::test
