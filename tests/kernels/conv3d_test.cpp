#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_method.h"

#include "support/conv3d_check.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
namespace cpu = vg::kernels::cpu;
using Conv3dTest = DeviceTest;
VG_ON_EVERY_DEVICE(Conv3dTest);

// Small enough for a slow device.
const Conv3dCase small_cases[] = {
    {{1, 1, 3, 1, 1}, 1, 1, 1, 1},   {{4, 16, 3, 1, 1}, 1, 3, 4, 5},  {{16, 16, 3, 1, 1}, 1, 2, 3, 7},
    {{3, 5, 3, 1, 1}, 2, 3, 2, 5},   {{5, 3, 3, 1, 0}, 1, 3, 5, 7},   {{8, 4, 3, 2, 1}, 1, 4, 6, 8},
    {{4, 33, 3, 2, 1}, 2, 3, 5, 7},  {{3, 8, 3, 2, 0}, 1, 5, 3, 7},   {{2, 4, 3, 2, 0}, 1, 6, 4, 3},
    {{16, 8, 1, 1, 0}, 2, 2, 3, 17}, {{8, 1, 1, 1, 0}, 1, 3, 2, 5},   {{16, 4, 1, 1, 0}, 1, 1, 2, 7},
    {{3, 5, 1, 2, 0}, 1, 3, 4, 5},   {{24, 17, 3, 1, 1}, 1, 2, 2, 3}, {{33, 16, 3, 2, 1}, 1, 2, 2, 2},
    {{1, 24, 1, 1, 0}, 1, 1, 1, 1},
};

TEST_P(Conv3dTest, IntegersAreExactOnEveryPlacement) {
  for (const Conv3dCase& c : small_cases) {
    const Conv3dCheck check(c, device(), exec(), true);
    for (const Placement& p : placements()) {
      check.run(p, p);
      check.run(p, {});
    }
  }
}

TEST_P(Conv3dTest, RandomFloatsAreWithinTolerance) {
  for (const Conv3dCase& c : small_cases) Conv3dCheck(c, device(), exec(), false).run({1, 0, 0}, {1, 0, 0});
}

// Few rows of many channels and many rows of few: both ways in which the gradient of the weights is cut into
// pieces.
TEST_P(Conv3dTest, PiecesOfSeveralRows) {
  Conv3dCheck({{96, 80, 3, 1, 1}, 1, 6, 7, 2}, device(), exec(), true).run({}, {});
  Conv3dCheck({{8, 4, 1, 1, 0}, 2, 67, 65, 1}, device(), exec(), true).run({}, {});
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
const Conv3dCase cpu_cases[] = {
    {{16, 16, 3, 1, 1}, 1, 3, 5, 23}, {{32, 16, 3, 1, 1}, 1, 2, 9, 40}, {{20, 40, 3, 1, 1}, 1, 4, 5, 10},
    {{33, 24, 3, 1, 1}, 2, 3, 7, 5},  {{4, 16, 3, 1, 1}, 1, 5, 17, 20}, {{16, 48, 3, 2, 1}, 1, 7, 9, 45},
    {{16, 32, 3, 2, 1}, 1, 4, 8, 40}, {{17, 33, 3, 2, 0}, 1, 5, 6, 13}, {{16, 8, 1, 1, 0}, 2, 3, 5, 50},
    {{33, 48, 1, 2, 0}, 1, 3, 4, 29}, {{5, 7, 3, 1, 0}, 1, 4, 9, 17},   {{64, 80, 3, 1, 1}, 1, 3, 2, 4},
};
// Pieces of the weight gradient's sums of several chunks: of one plane, the copies of which go round a ring,
// and of several.
const Conv3dCase chunk_cases[] = {{{17, 18, 3, 1, 1}, 1, 12, 2, 170},
                                  {{18, 17, 3, 2, 1}, 1, 39, 3, 162},
                                  {{33, 34, 3, 1, 1}, 2, 21, 5, 17},
                                  {{33, 72, 3, 2, 1}, 1, 9, 14, 11}};
// More weights than a cache holds: with few threads each packs those of the blocks at which it is.
const Conv3dCase deep_cases[] = {{{96, 104, 3, 1, 1}, 1, 2, 3, 5}, {{104, 100, 3, 2, 1}, 1, 3, 4, 6}};

// The direct method, whose results are exact for integers; Winograd's tests are in conv3d_winograd_test.cpp.
class Conv3dCpuTest : public ::testing::Test {
 protected:
  Conv3dCpuTest() { cpu::force_convolution_method(cpu::ConvolutionMethod::direct); }
  Exec exec() { return {DeviceKind::cpu, nullptr, &workspace_}; }

 private:
  CpuSettings restore_;
  Workspace workspace_{DeviceKind::cpu};
};

TEST_F(Conv3dCpuTest, IntegersAreExact) {
  const auto run = [&](const Conv3dCase& c) {
    const Conv3dCheck check(c, DeviceKind::cpu, exec(), true);
    for_each_instruction_set(DeviceKind::cpu, [&] {
      check.run({1, 0, 0}, {1, 0, 0});
      check.run({0, 0, 0}, {1, 3, 2});
    });
  };
  for (const Conv3dCase& c : cpu_cases) run(c);
  for (const Conv3dCase& c : small_cases) run(c);
  for (const Conv3dCase& c : chunk_cases) run(c);
  for (const Conv3dCase& c : deep_cases) run(c);
}

TEST_F(Conv3dCpuTest, SameBitsForAnyNumberOfThreads) {
  for (const Conv3dCase& c : {cpu_cases[1], cpu_cases[5], cpu_cases[9], cpu_cases[11], chunk_cases[1],
                              deep_cases[0], deep_cases[1]}) {
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
  const Conv3dCase c{{4, 16, 3, 1, 1}, 1, 24, 32, 40};
  const ConvOracle oracle(c.params, c.n, c.d, c.h, c.w);
  const auto &xe = oracle.x(), &ye = oracle.y();
  const auto inputs = uniform(xe.count(), 1, 0.5f, 1), gradients = uniform(ye.count(), 2, 0.5f, 1);
  const auto expected_dweight = oracle.backward_weight(gradients, inputs),
             expected_dbias = oracle.backward_bias(gradients);
  const Activation<float> x(DeviceKind::cpu, xe.n, xe.d, xe.h, xe.w, xe.c, inputs, {1, 0, 0}),
      dy(DeviceKind::cpu, ye.n, ye.d, ye.h, ye.w, ye.c, gradients);
  for_each_instruction_set(DeviceKind::cpu, [&] {
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
