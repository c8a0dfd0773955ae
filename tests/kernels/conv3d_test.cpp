#include "kernels/conv3d/conv3d.h"

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
using Conv3dTest = DeviceTest;
VG_ON_EVERY_DEVICE(Conv3dTest);

struct Case {
  Conv3dParams params;
  int64_t n, d, h, w;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << '[' << c.n << ',' << c.d << ',' << c.h << ',' << c.w << "] channels " << c.params.in_channels
             << "->" << c.params.out_channels << " kernel " << c.params.kernel_size << " stride "
             << c.params.stride << " padding " << c.params.padding;
}

// Small enough for a slow device.
const Case small_cases[] = {
    {{1, 1, 3, 1, 1}, 1, 1, 1, 1},   {{4, 16, 3, 1, 1}, 1, 3, 4, 5},  {{16, 16, 3, 1, 1}, 1, 2, 3, 7},
    {{3, 5, 3, 1, 1}, 2, 3, 2, 5},   {{5, 3, 3, 1, 0}, 1, 3, 5, 7},   {{8, 4, 3, 2, 1}, 1, 4, 6, 8},
    {{4, 33, 3, 2, 1}, 2, 3, 5, 7},  {{3, 8, 3, 2, 0}, 1, 5, 3, 7},   {{2, 4, 3, 2, 0}, 1, 6, 4, 3},
    {{16, 8, 1, 1, 0}, 2, 2, 3, 17}, {{8, 1, 1, 1, 0}, 1, 3, 2, 5},   {{16, 4, 1, 1, 0}, 1, 1, 2, 7},
    {{3, 5, 1, 2, 0}, 1, 3, 4, 5},   {{24, 17, 3, 1, 1}, 1, 2, 2, 3}, {{33, 16, 3, 2, 1}, 1, 2, 2, 2},
    {{1, 24, 1, 1, 0}, 1, 1, 1, 1},
};

// Runs all four functions and compares with the oracle: exactly for integers, else with the tolerance of
// the sums' lengths.
class Check {
 public:
  Check(const Case& c, DeviceKind device, const Exec& exec, bool exact)
      : case_(c), device_(device), exec_(exec), exact_(exact), oracle_(c.params, c.n, c.d, c.h, c.w) {
    x_ = data(oracle_.x().count(), 1);
    dy_ = data(oracle_.y().count(), 2);
    weight_ = data(oracle_.weights(), 3);
    bias_ = data(oracle_.y().c, 4);
    const std::vector<float> no_bias;
    y_with_bias_ = oracle_.forward(x_, weight_, bias_);
    y_without_bias_ = oracle_.forward(x_, weight_, no_bias);
    dx_ = oracle_.backward_input(dy_, weight_);
    // Gradients of parameters accumulate: they start from the weights' and the bias's own values.
    dweight_ = sum(oracle_.backward_weight(dy_, x_), weight_);
    dbias_ = sum(oracle_.backward_bias(dy_), bias_);
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
    const Buffer<float> weight(device_, weight_), bias(device_, bias_);

    conv3d_forward(y, x, weight.data(), bias.data(), case_.params, exec_);
    EXPECT_TRUE(close(y.get(), y_with_bias_, oracle_.forward_length()));
    conv3d_forward(y, x, weight.data(), nullptr, case_.params, exec_);
    EXPECT_TRUE(close(y.get(), y_without_bias_, oracle_.forward_length()));
    conv3d_backward_input(dx, dy, weight.data(), case_.params, exec_);
    EXPECT_TRUE(close(dx.get(), dx_, oracle_.backward_input_length()));
    const Buffer<float> dweight(device_, weight_), dbias(device_, bias_);
    conv3d_backward_weight(dweight.data(), dy, x, case_.params, exec_);
    EXPECT_TRUE(close(dweight.get(), dweight_, oracle_.backward_weight_length()));
    conv3d_backward_bias(dbias.data(), dy, exec_);
    EXPECT_TRUE(close(dbias.get(), dbias_, oracle_.backward_weight_length()));
  }

 private:
  std::vector<float> data(int64_t count, uint32_t seed) const {
    return exact_ ? integers(count, seed) : uniform(count, seed);
  }
  ::testing::AssertionResult close(const std::vector<float>& actual, const std::vector<double>& expected,
                                   int64_t length) const {
    return all_close(actual, expected, exact_ ? 0 : float_tolerance(length + 1), exact_ ? 0 : 1e-6);
  }
  static std::vector<double> sum(std::vector<double> a, const std::vector<float>& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] += static_cast<double>(b[i]);
    return a;
  }

  Case case_;
  DeviceKind device_;
  Exec exec_;
  bool exact_;
  ConvOracle oracle_;
  std::vector<float> x_, dy_, weight_, bias_;
  std::vector<double> y_with_bias_, y_without_bias_, dx_, dweight_, dbias_;
};

TEST_P(Conv3dTest, IntegersAreExactOnEveryPlacement) {
  for (const Case& c : small_cases) {
    const Check check(c, device(), exec(), true);
    for (const Placement& p : placements()) {
      check.run(p, p);
      check.run(p, {});
    }
  }
}

TEST_P(Conv3dTest, RandomFloatsAreWithinTolerance) {
  for (const Case& c : small_cases) Check(c, device(), exec(), false).run({1, 0, 0}, {1, 0, 0});
}

// Few rows of many channels and many rows of few: both ways in which the gradient of the weights is cut into
// pieces.
TEST_P(Conv3dTest, PiecesOfSeveralRows) {
  Check({{96, 80, 3, 1, 1}, 1, 6, 7, 2}, device(), exec(), true).run({}, {});
  Check({{8, 4, 1, 1, 0}, 2, 67, 65, 1}, device(), exec(), true).run({}, {});
}

TEST_P(Conv3dTest, WrongArgumentsAreErrors) {
  const Activation<float> x(device(), 1, 4, 4, 4, 3), y(device(), 1, 4, 4, 4, 5),
      small(device(), 1, 1, 4, 4, 3);
  const Buffer<float> weight(device(), 3 * 5 * 27);
  const auto forward = [&](const View<float>& out, const View<const float>& in, const Conv3dParams& p) {
    conv3d_forward(out, in, weight.data(), nullptr, p, exec());
  };
  EXPECT_THROW(forward(y, x, {4, 5, 3, 1, 1}), std::invalid_argument);
  EXPECT_THROW(forward(y, x, {3, 6, 3, 1, 1}), std::invalid_argument);
  EXPECT_THROW(forward(y, x, {3, 5, 2, 1, 1}), std::invalid_argument);
  EXPECT_THROW(forward(y, x, {3, 5, 3, 3, 1}), std::invalid_argument);
  EXPECT_THROW(forward(y, x, {3, 5, 3, 1, 2}), std::invalid_argument);
  EXPECT_THROW(forward(y, x, {3, 5, 1, 1, 1}), std::invalid_argument);
  EXPECT_THROW(forward(y, x, {3, 5, 3, 1, 0}), std::invalid_argument);
  EXPECT_THROW(forward(y, x, {3, 5, 3, 2, 1}), std::invalid_argument);
  EXPECT_THROW(forward(y, small, {3, 5, 3, 1, 0}), std::invalid_argument);
  EXPECT_THROW(conv3d_forward(y, x, nullptr, nullptr, {3, 5, 3, 1, 1}, exec()), std::invalid_argument);
  EXPECT_THROW(conv3d_backward_input(x, x, weight.data(), {3, 5, 3, 1, 1}, exec()), std::invalid_argument);
  EXPECT_THROW(conv3d_backward_weight(weight.data(), x, x, {3, 5, 3, 1, 1}, exec()), std::invalid_argument);
  EXPECT_THROW(conv3d_backward_bias(nullptr, x, exec()), std::invalid_argument);
}

// Shapes that reach every tile of the CPU's kernels and their tails.
const Case cpu_cases[] = {
    {{16, 16, 3, 1, 1}, 1, 3, 5, 23}, {{32, 16, 3, 1, 1}, 1, 2, 9, 40}, {{20, 40, 3, 1, 1}, 1, 4, 5, 10},
    {{33, 24, 3, 1, 1}, 2, 3, 7, 5},  {{4, 16, 3, 1, 1}, 1, 5, 17, 20}, {{16, 48, 3, 2, 1}, 1, 7, 9, 45},
    {{16, 32, 3, 2, 1}, 1, 4, 8, 40}, {{17, 33, 3, 2, 0}, 1, 5, 6, 13}, {{16, 8, 1, 1, 0}, 2, 3, 5, 50},
    {{33, 48, 1, 2, 0}, 1, 3, 4, 29}, {{5, 7, 3, 1, 0}, 1, 4, 9, 17},   {{64, 80, 3, 1, 1}, 1, 3, 2, 4},
};

class Conv3dCpuTest : public ::testing::Test {
 protected:
  // Calls body() under each instruction set of this processor.
  template <class Body>
  void on_every_isa(const Body& body) {
    const CpuSettings restore;
    for (const cpu::Isa isa : {cpu::Isa::portable, cpu::Isa::avx2, cpu::Isa::avx512}) {
      if (!cpu::isa_supported(isa)) continue;
      SCOPED_TRACE(cpu::isa_name(isa));
      cpu::force_isa(isa);
      body();
    }
  }
  Exec exec() { return {DeviceKind::cpu, nullptr, &workspace_}; }

 private:
  Workspace workspace_{DeviceKind::cpu};
};

TEST_F(Conv3dCpuTest, IntegersAreExact) {
  const auto run = [&](const Case& c) {
    const Check check(c, DeviceKind::cpu, exec(), true);
    on_every_isa([&] {
      check.run({1, 0, 0}, {1, 0, 0});
      check.run({0, 0, 0}, {1, 3, 2});
    });
  };
  for (const Case& c : cpu_cases) run(c);
  for (const Case& c : small_cases) run(c);
}

TEST_F(Conv3dCpuTest, SameBitsForAnyNumberOfThreads) {
  for (const Case& c : {cpu_cases[1], cpu_cases[5], cpu_cases[9]}) {
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
      const Buffer<float> dweight(DeviceKind::cpu, weights),
          dbias(DeviceKind::cpu, std::vector<float>(static_cast<size_t>(ye.c), 1));
      conv3d_forward(y, x, weight.data(), nullptr, c.params, exec());
      conv3d_backward_input(dx, dy, weight.data(), c.params, exec());
      conv3d_backward_weight(dweight.data(), dy, x, c.params, exec());
      conv3d_backward_bias(dbias.data(), dy, exec());
      return std::vector<std::vector<float>>{y.get(), dx.get(), dweight.get(), dbias.get()};
    });
  }
}

// Long sums of one sign: a single running float sum would lose far more than this tolerance.
TEST_F(Conv3dCpuTest, LongSumsStayExact) {
  const Case c{{4, 16, 3, 1, 1}, 1, 24, 32, 40};
  const ConvOracle oracle(c.params, c.n, c.d, c.h, c.w);
  const auto &xe = oracle.x(), &ye = oracle.y();
  const auto inputs = uniform(xe.count(), 1, 0.5f, 1), gradients = uniform(ye.count(), 2, 0.5f, 1);
  const auto expected_dweight = oracle.backward_weight(gradients, inputs),
             expected_dbias = oracle.backward_bias(gradients);
  const Activation<float> x(DeviceKind::cpu, xe.n, xe.d, xe.h, xe.w, xe.c, inputs, {1, 0, 0}),
      dy(DeviceKind::cpu, ye.n, ye.d, ye.h, ye.w, ye.c, gradients);
  on_every_isa([&] {
    const Buffer<float> dweight(DeviceKind::cpu, std::vector<float>(static_cast<size_t>(oracle.weights()))),
        dbias(DeviceKind::cpu, std::vector<float>(static_cast<size_t>(ye.c)));
    conv3d_backward_weight(dweight.data(), dy, x, c.params, exec());
    conv3d_backward_bias(dbias.data(), dy, exec());
    EXPECT_TRUE(all_close(dweight.get(), expected_dweight, 0, 2e-6));
    EXPECT_TRUE(all_close(dbias.get(), expected_dbias, 0, 2e-6));
  });
}

// The function is linear in each argument, so that a central difference is exact but for rounding.
TEST(ConvOracleTest, GradientsMatchFiniteDifferences) {
  for (const Conv3dParams& p : {Conv3dParams{2, 3, 3, 2, 1}, Conv3dParams{3, 2, 3, 1, 0}}) {
    const ConvOracle oracle(p, 1, 3, 4, 5);
    const auto to_double = [](const std::vector<float>& v) {
      return std::vector<double>(v.begin(), v.end());
    };
    auto x = to_double(uniform(oracle.x().count(), 1)), w = to_double(uniform(oracle.weights(), 2));
    const auto dy = to_double(uniform(oracle.y().count(), 3));
    const auto loss = [&] {
      const auto y = oracle.forward(x, w, std::vector<double>());
      double sum = 0;
      for (size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
      return sum;
    };
    const auto differences = [&](std::vector<double>& argument) {
      std::vector<double> result;
      for (double& value : argument) {
        const double old = value;
        value = old + 0.5;
        const double above = loss();
        value = old - 0.5;
        result.push_back(above - loss());
        value = old;
      }
      return result;
    };
    EXPECT_TRUE(all_close(differences(x), oracle.backward_input(dy, w), 1e-11));
    EXPECT_TRUE(all_close(differences(w), oracle.backward_weight(dy, x), 1e-11));
  }
}

}  // namespace
}  // namespace vg::test
