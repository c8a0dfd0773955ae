// Winograd convolutions of the CPU against the oracle, and which algorithm runs when.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels/conv3d/conv3d_method.h"
#include "support/conv3d_check.h"
#include "support/instruction_sets.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using namespace vg::kernels::cpu;

constexpr Conv3dParams kernel3(int64_t in, int64_t out) {
  return {in, out, 3, 1, 1};
}

// Tiles of 2x2, 2x4 and 4x4 (extents along D and H), one and several tiles of each, also such that overlap
// along either axis; odd and short rows, several blocks of channels and samples. The last of 2x2 and of 4x4
// have so many channels that all threads share the sums of the weights' gradient.
const Conv3dCase tiles_2x2[] = {{kernel3(16, 16), 1, 2, 2, 7},   {kernel3(32, 16), 2, 6, 6, 5},
                                {kernel3(16, 48), 1, 10, 2, 23}, {kernel3(16, 16), 1, 6, 2, 1},
                                {kernel3(16, 32), 2, 3, 2, 4},   {kernel3(16, 16), 1, 2, 5, 9},
                                {kernel3(32, 16), 1, 5, 5, 3},   {kernel3(96, 64), 1, 3, 3, 6}};
const Conv3dCase tiles_2x4[] = {{kernel3(16, 16), 1, 2, 4, 21},
                                {kernel3(48, 32), 2, 6, 16, 10},
                                {kernel3(16, 16), 1, 2, 7, 5},
                                {kernel3(16, 32), 2, 3, 9, 11}};
const Conv3dCase tiles_4x4[] = {{kernel3(16, 16), 1, 4, 4, 1},    {kernel3(16, 16), 2, 8, 8, 43},
                                {kernel3(32, 16), 1, 4, 16, 10},  {kernel3(16, 64), 1, 8, 4, 20},
                                {kernel3(80, 48), 1, 4, 12, 3},   {kernel3(16, 16), 1, 7, 4, 9},
                                {kernel3(16, 32), 2, 4, 5, 7},    {kernel3(16, 16), 1, 10, 9, 20},
                                {kernel3(16, 16), 1, 14, 16, 10}, {kernel3(64, 64), 1, 7, 6, 4}};

// By how much rounding errors exceed those of plain sums, for operands without a mean. One axis of
// F(M, 3): with p the products' errors, of the size of the transformed operands, an output's is the square
// root of sum over frequencies of A^2 |B|^2 |G|^2, against 3 in a plain sum; a weight gradient's that of G^2
// |B|^2 |A|^2, against M. The largest, from the matrices: sqrt(21.4 / 3) for M = 4, sqrt(4 / 2) for M = 2.
double growth(const Conv3dCase& c) {
  // The tile with the fewest products, the smaller of equals.
  const auto products = [&](int64_t d, int64_t h) {
    return c.d < d || c.h < h ? INT64_MAX : (c.d + d - 1) / d * (d + 2) * ((c.h + h - 1) / h) * (h + 2);
  };
  const bool four_h = std::min(products(2, 4), products(4, 4)) < products(2, 2),
             four_d = products(4, 4) < std::min(products(2, 2), products(2, 4));
  return (four_d ? 2.7 : 1.5) * (four_h ? 2.7 : 1.5);
}

class Conv3dWinogradTest : public ::testing::Test {
 protected:
  Conv3dWinogradTest() { force_convolution_method(ConvolutionMethod::winograd); }
  Exec exec() { return {DeviceKind::cpu, nullptr, &workspace_}; }

 private:
  CpuSettings restore_;
  Workspace workspace_{DeviceKind::cpu};
};

const Placement halo{1, 0, 0}, halo_and_neighbours{1, 3, 2};

// All constants of F(2, 3) are powers of two: integers stay exact.
TEST_F(Conv3dWinogradTest, IntegersAreExactWithTilesOfTwo) {
  for (const Conv3dCase& c : tiles_2x2) {
    const Conv3dCheck check(c, DeviceKind::cpu, exec(), true);
    for_each_instruction_set(DeviceKind::cpu, [&] {
      check.run(halo, halo);
      check.run(halo_and_neighbours, halo_and_neighbours);
      check.run(halo, {0, 16, 0});
      check.run({}, halo);
    });
  }
}

TEST_F(Conv3dWinogradTest, DirectMethodIsExactOnTheSameShapes) {
  force_convolution_method(ConvolutionMethod::direct);
  for (const Conv3dCase& c : tiles_4x4) {
    const Conv3dCheck check(c, DeviceKind::cpu, exec(), true);
    for_each_instruction_set(DeviceKind::cpu, [&] { check.run(halo, halo); });
  }
}

TEST_F(Conv3dWinogradTest, RandomFloatsAreWithinTolerance) {
  const auto run = [&](const Conv3dCase& c) {
    const Conv3dCheck check(c, DeviceKind::cpu, exec(), false, growth(c));
    for_each_instruction_set(DeviceKind::cpu, [&] {
      check.run(halo, halo);
      check.run(halo_and_neighbours, halo_and_neighbours);
    });
  };
  for (const Conv3dCase& c : tiles_2x2) run(c);
  for (const Conv3dCase& c : tiles_2x4) run(c);
  for (const Conv3dCase& c : tiles_4x4) run(c);
}

// The largest error of an element over the largest element; NaN stays.
double relative_error(const std::vector<float>& actual, const std::vector<double>& expected) {
  double largest = 0, error = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
    largest = std::max(largest, std::abs(expected[i]));
    error = difference <= error ? error : difference;
  }
  return error / largest;
}

void expect_accurate(const std::vector<float>& inputs, const std::vector<float>& gradients,
                     const Exec& exec) {
  const Conv3dCase c{kernel3(16, 16), 1, 8, 16, 40};
  const ConvOracle oracle(c.params, c.n, c.d, c.h, c.w);
  const auto weights = uniform(oracle.weights(), 3);
  const auto expected_y = oracle.forward(inputs, weights, std::vector<float>()),
             expected_dx = oracle.backward_input(gradients, weights),
             expected_dweight = oracle.backward_weight(gradients, inputs);
  const Activation<float> x(DeviceKind::cpu, c.n, c.d, c.h, c.w, 16, inputs, halo),
      dy(DeviceKind::cpu, c.n, c.d, c.h, c.w, 16, gradients, halo),
      y(DeviceKind::cpu, c.n, c.d, c.h, c.w, 16), dx(DeviceKind::cpu, c.n, c.d, c.h, c.w, 16);
  const Buffer<float> weight(DeviceKind::cpu, weights);
  for_each_instruction_set(DeviceKind::cpu, [&] {
    const Buffer<float> dweight(DeviceKind::cpu, std::vector<float>(weights.size()));
    conv3d_forward(y, x, weight.data(), nullptr, c.params, exec);
    conv3d_backward_input(dx, dy, weight.data(), c.params, exec);
    conv3d_backward_weight(dweight.data(), dy, x, c.params, exec);
    EXPECT_LE(relative_error(y.get(), expected_y), 3e-6);
    EXPECT_LE(relative_error(dx.get(), expected_dx), 3e-6);
    EXPECT_LE(relative_error(dweight.get(), expected_dweight), 5e-6);
  });
}

// Values with a large mean, gradients whose sizes span six orders of magnitude, and long sums of one sign,
// which a single running sum of the weights' gradient would lose. Errors are relative to the largest values
// of a tile, so the bounds are to the largest element.
TEST_F(Conv3dWinogradTest, LargeMeansAndUnequalGradientsStayAccurate) {
  const int64_t count = 8 * 16 * 40 * 16;
  auto unequal = uniform(count, 4);
  const auto exponents = uniform(count, 5, -6, 0);
  for (size_t i = 0; i < unequal.size(); ++i) unequal[i] *= std::pow(10.0f, exponents[i]);
  const auto shifted = uniform(count, 1, 9.5f, 10.5f);
  expect_accurate(uniform(count, 1), unequal, exec());
  expect_accurate(shifted, unequal, exec());
  expect_accurate(shifted, uniform(count, 2, 0.5f, 1), exec());
}

TEST_F(Conv3dWinogradTest, SameBitsForAnyNumberOfThreads) {
  for (const Conv3dCase& c : {tiles_2x2[1], tiles_2x2[7], tiles_2x4[1], tiles_2x4[3], tiles_4x4[1],
                              tiles_4x4[3], tiles_4x4[7], tiles_4x4[9]}) {
    SCOPED_TRACE(::testing::Message() << c);
    const ConvOracle oracle(c.params, c.n, c.d, c.h, c.w);
    const auto &xe = oracle.x(), &ye = oracle.y();
    const Activation<float> x(DeviceKind::cpu, xe.n, xe.d, xe.h, xe.w, xe.c, uniform(xe.count(), 1), halo),
        dy(DeviceKind::cpu, ye.n, ye.d, ye.h, ye.w, ye.c, uniform(ye.count(), 2), halo),
        y(DeviceKind::cpu, ye.n, ye.d, ye.h, ye.w, ye.c), dx(DeviceKind::cpu, xe.n, xe.d, xe.h, xe.w, xe.c);
    const auto weights = uniform(oracle.weights(), 3);
    const Buffer<float> weight(DeviceKind::cpu, weights);
    expect_thread_independent([&] {
      const Buffer<float> dweight(DeviceKind::cpu, weights);
      conv3d_forward(y, x, weight.data(), nullptr, c.params, exec());
      conv3d_backward_input(dx, dy, weight.data(), c.params, exec());
      conv3d_backward_weight(dweight.data(), dy, x, c.params, exec());
      return std::vector<std::vector<float>>{y.get(), dx.get(), dweight.get()};
    });
  }
}

// The algorithms of forward, input gradient and weight gradient.
std::vector<std::string> algorithms(const Conv3dCase& c, int voxels_around = 1) {
  const ConvOracle oracle(c.params, c.n, c.d, c.h, c.w);
  const Placement p{voxels_around, 0, 0};
  const auto &xe = oracle.x(), &ye = oracle.y();
  const Activation<float> x(DeviceKind::cpu, xe.n, xe.d, xe.h, xe.w, xe.c, p),
      y(DeviceKind::cpu, ye.n, ye.d, ye.h, ye.w, ye.c, p);
  return {conv3d_forward_algorithm(y, x, c.params), conv3d_backward_input_algorithm(x, y, c.params),
          conv3d_backward_weight_algorithm(y, x, c.params)};
}

TEST_F(Conv3dWinogradTest, RunsWhereItsConditionsHold) {
  const std::vector<std::string> winograd{"winograd", "winograd", "winograd"},
      direct{"direct", "flipped", "direct"}, strided{"direct", "transposed", "direct"},
      pointwise{"pointwise", "pointwise", "pointwise"};
  const Conv3dCase fitting{kernel3(16, 32), 1, 4, 4, 5};
  EXPECT_EQ(algorithms(fitting), winograd);
  EXPECT_EQ(algorithms({kernel3(32, 16), 2, 6, 10, 5}), winograd);
  EXPECT_EQ(algorithms(fitting, 0), direct);                    // no zeros around the input
  EXPECT_EQ(algorithms({kernel3(4, 16), 1, 4, 4, 5}), direct);  // channels
  EXPECT_EQ(algorithms({kernel3(16, 24), 1, 4, 4, 5}), direct);
  EXPECT_EQ(algorithms({kernel3(16, 16), 1, 7, 4, 5}), winograd);  // odd extents
  EXPECT_EQ(algorithms({kernel3(16, 16), 1, 2, 3, 5}), winograd);
  EXPECT_EQ(algorithms({kernel3(16, 16), 1, 1, 4, 5}), direct);  // no tile
  EXPECT_EQ(algorithms({kernel3(16, 16), 1, 4, 1, 5}), direct);
  EXPECT_EQ(algorithms({{16, 16, 3, 1, 0}, 1, 4, 4, 5}), direct);
  EXPECT_EQ(algorithms({{16, 16, 3, 2, 1}, 1, 4, 4, 5}), strided);
  EXPECT_EQ(algorithms({{16, 16, 1, 1, 0}, 1, 4, 4, 5}), pointwise);
  force_convolution_method(ConvolutionMethod::automatic);
  EXPECT_EQ(algorithms(fitting), direct);  // too few voxels to be faster
  EXPECT_EQ(algorithms({kernel3(16, 32), 1, 8, 8, 5}), winograd);
  force_convolution_method(ConvolutionMethod::direct);
  EXPECT_EQ(algorithms({kernel3(16, 32), 1, 8, 8, 5}), direct);
}

// The variable is read once a process: each value gets a process of its own, which exits with the method or
// with 100 for an error that names the value.
int method_from_environment(const char* value) {
  setenv("VOXGRAD_CONV", value, 1);
  try {
    return static_cast<int>(active_convolution_method());
  } catch (const std::runtime_error& error) {
    return std::string(error.what()).find(value) != std::string::npos ? 100 : 101;
  }
}

TEST(ConvolutionMethodDeathTest, EnvironmentVariableChooses) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const auto method :
       {ConvolutionMethod::automatic, ConvolutionMethod::direct, ConvolutionMethod::winograd}) {
    EXPECT_EXIT(std::exit(method_from_environment(convolution_method_name(method))),
                ::testing::ExitedWithCode(static_cast<int>(method)), "");
  }
  EXPECT_EXIT(std::exit(method_from_environment("fft")), ::testing::ExitedWithCode(100), "");
}

}  // namespace
}  // namespace vg::test
