// The statistics that a bfloat16 convolution leaves for the norm behind it.
#ifdef VOXGRAD_WITH_CUDA

#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"
#include "support/buffer.h"
#include "support/devices.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using Conv3dStatisticsTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dStatisticsTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

struct Case {
  int64_t in, out;
  int kernel_size, stride;
  bool transposed;
  int64_t extent(int64_t of_input) const {
    return transposed ? 2 * of_input : stride == 2 ? (of_input + 1) / 2 : of_input;
  }
};
// Each algorithm: halo tiles, matrix products with and without a cut sum, stride 2, transposed, both as
// matrix products, pointwise, direct; channels and the last tiles of each axis incomplete.
constexpr Case cases[] = {
    {16, 16, 3, 1, false},   {32, 16, 3, 1, false},  {32, 32, 3, 1, false}, {64, 32, 3, 1, false},
    {48, 48, 3, 1, false},   {64, 64, 3, 1, false},  {80, 96, 3, 1, false}, {16, 32, 3, 2, false},
    {32, 64, 3, 2, false},   {32, 16, 3, 2, true},   {64, 32, 3, 2, true},  {16, 4, 1, 1, false},
    {32, 64, 1, 1, false},   {5, 3, 3, 1, false},    {4, 16, 3, 1, false},  {3, 5, 3, 2, true},
    {128, 128, 3, 1, false}, {64, 128, 3, 2, false}, {128, 48, 3, 2, true}};

std::vector<bfloat16> rounded(const std::vector<float>& values) {
  std::vector<bfloat16> result;
  for (const float value : values) result.push_back(to_bfloat16(value));
  return result;
}

// A convolution and its tensors.
class Problem {
 public:
  Problem(const Case& c, int64_t n, int64_t d, int64_t h, int64_t w, bool exact, const Exec& exec)
      : case_(c),
        n_(n),
        voxels_(c.extent(d) * c.extent(h) * c.extent(w)),
        exec_(exec),
        x_(exec.device, rounded(values(exact, n * d * h * w * c.in, 1, -1, 1))),
        y_(exec.device, n * voxels_ * c.out),
        weight_(exec.device,
                values(exact, c.in * c.out * c.kernel_size * c.kernel_size * c.kernel_size, 2, -1, 1)),
        bias_(exec.device, values(exact, c.out, 3, 4, 5)),  // means away from zero
        input_(contiguous_view(x_.data(), n, d, h, w, c.in)),
        output_(contiguous_view(y_.data(), n, c.extent(d), c.extent(h), c.extent(w), c.out)) {}

  // Calls convolve(y, statistics, x, weight, bias) and returns y.
  template <class Convolve>
  std::vector<bfloat16> run(const OutputStatistics* statistics, const Convolve& convolve) const {
    convolve(output_, statistics, View<const bfloat16>(input_), weight_.data(), bias_.data());
    return y_.get();
  }

  // The same with statistics, compared with those of y. Tolerances are for y rounded from the values of the
  // statistics, or for the sums alone.
  template <class Convolve>
  void check(bool per_instance, bool exact, const std::vector<bfloat16>& expected,
             const Convolve& convolve) const {
    SCOPED_TRACE(per_instance ? "per instance" : "per batch");
    const int64_t groups = per_instance ? n_ : 1, channels = case_.out;
    const Buffer<float> mean(exec_.device, groups * channels), variance(exec_.device, groups * channels);
    const OutputStatistics statistics{mean.data(), variance.data(), per_instance};
    const std::vector<bfloat16> values = run(&statistics, convolve);
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i].bits, expected[i].bits) << i;
    const std::vector<float> means = mean.get(), variances = variance.get();
    const int64_t count = n_ * voxels_ / groups;
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t channel = 0; channel < channels; ++channel) {
        double sum = 0, squares = 0, largest = 0;
        for (int64_t v = group * count; v < (group + 1) * count; ++v) {
          const double value = to_float(values[static_cast<size_t>(v * channels + channel)]);
          sum += value;
          squares += value * value;
          largest = std::max(largest, std::abs(value));
        }
        const double m = sum / static_cast<double>(count), v = squares / static_cast<double>(count) - m * m;
        // The stored values are rounded, those of the statistics may not be: 2^-9 of the largest each, and
        // the mean of many such errors is much smaller. Sums of integers are exact.
        const double rounding = exact ? 0 : largest / 512;
        const double mean_tolerance = rounding / 2 + 0x1p-23 * std::abs(m),
                     variance_tolerance =
                         2 * rounding * std::sqrt(v) + rounding * rounding + 0x1p-22 * (m * m + v);
        const auto i = static_cast<size_t>(group * channels + channel);
        EXPECT_TRUE(std::abs(means[i] - m) <= mean_tolerance) << channel << ": " << means[i] << " " << m;
        EXPECT_TRUE(std::abs(variances[i] - v) <= variance_tolerance)
            << channel << ": " << variances[i] << " " << v;
      }
    }
  }

 private:
  static std::vector<float> values(bool exact, int64_t count, uint32_t seed, float low, float high) {
    return exact ? integers(count, seed, 1) : uniform(count, seed, low, high);
  }

  Case case_;
  int64_t n_, voxels_;
  Exec exec_;
  Buffer<bfloat16> x_, y_;
  Buffer<float> weight_, bias_;
  View<bfloat16> input_, output_;
};

TEST_P(Conv3dStatisticsTest, AreThoseOfTheOutput) {
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.in << "->" << c.out << " kernel " << c.kernel_size << " stride "
                                      << c.stride << (c.transposed ? " transposed" : ""));
    const Problem problem(c, 2, 2, 18, 11, false, exec());
    const auto convolve = [&](View<bfloat16> y, const OutputStatistics* statistics, View<const bfloat16> x,
                              const float* weight, const float* bias) {
      if (c.transposed) {
        const ConvTranspose3dParams p{.in_channels = c.in, .out_channels = c.out};
        if (statistics != nullptr)
          return conv_transpose3d_forward(y, *statistics, x, weight, bias, p, exec());
        return conv_transpose3d_forward(y, x, weight, bias, p, exec());
      }
      const Conv3dParams p{c.in, c.out, c.kernel_size, c.stride, c.kernel_size / 2};
      if (statistics != nullptr) return conv3d_forward(y, *statistics, x, weight, bias, p, exec());
      conv3d_forward(y, x, weight, bias, p, exec());
    };
    const std::vector<bfloat16> expected = problem.run(nullptr, convolve);
    for (const bool per_instance : {false, true}) problem.check(per_instance, false, expected, convolve);
  }
}

// Sums of integers are exact, so that a voxel beyond an edge or one too few is seen. With one multiprocessor
// blocks march along D as far as they can; matrix products with their sum in one piece and in three.
TEST_P(Conv3dStatisticsTest, OfIntegersAreExactHoweverWorkIsCut) {
  constexpr Case several[] = {{16, 16, 3, 1, false}, {16, 32, 3, 1, false}, {32, 48, 3, 1, false},
                              {16, 32, 3, 2, false}, {32, 16, 3, 2, false}, {32, 16, 3, 2, true},
                              {16, 48, 3, 2, true},  {32, 80, 1, 1, false}, {16, 32, 1, 1, false},
                              {4, 16, 3, 1, false},  {3, 48, 3, 1, false}};
  for (const Case& c : several) {
    SCOPED_TRACE(::testing::Message() << c.in << "->" << c.out << " kernel " << c.kernel_size << " stride "
                                      << c.stride << (c.transposed ? " transposed" : ""));
    const Problem problem(c, 2, 4, 17, 9, true, exec());
    const Conv3dParams p{c.in, c.out, c.kernel_size, c.stride, c.kernel_size / 2};
    for (const int64_t pieces : {1, 3}) {
      SCOPED_TRACE(pieces);
      const auto convolve = [&](View<bfloat16> y, const OutputStatistics* statistics, View<const bfloat16> x,
                                const float* weight, const float* bias) {
        if (c.transposed)
          return cuda::conv3d_backward_input_strided(y, x, weight, bias, 1, exec(), statistics);
        if (c.stride == 2) return cuda::conv3d_forward_strided(y, x, weight, bias, 1, exec(), statistics);
        if (c.kernel_size == 1)
          return cuda::conv3d_forward_gemm(y, x, weight, bias, p, exec(), pieces, statistics);
        if (c.in <= 4) return cuda::conv3d_forward_first_layer(y, x, weight, bias, 1, exec(), statistics);
        cuda::conv3d_forward_halo_tile(y, x, weight, bias, p, 1, exec(), statistics);
      };
      const std::vector<bfloat16> expected = problem.run(nullptr, convolve);
      for (const bool per_instance : {false, true}) problem.check(per_instance, true, expected, convolve);
      if (c.kernel_size == 3) break;
    }
  }
}

// Not statistics, but the other thing that a pass does for its neighbours: dx += instead of dx =.
TEST_P(Conv3dStatisticsTest, InputGradientsAddToWhatIsThere) {
  constexpr int64_t n = 2, d = 3, h = 18, w = 11;
  for (const Case& c : cases) {
    if (c.transposed) continue;
    SCOPED_TRACE(::testing::Message()
                 << c.in << "->" << c.out << " kernel " << c.kernel_size << " stride " << c.stride);
    const auto extent = [&](int64_t e) { return c.stride == 2 ? (e + 1) / 2 : e; };
    const int64_t od = extent(d), oh = extent(h), ow = extent(w), count = n * d * h * w * c.in;
    const Conv3dParams p{c.in, c.out, c.kernel_size, c.stride, c.kernel_size / 2};
    const int64_t taps = c.kernel_size * c.kernel_size * c.kernel_size;
    const Buffer<bfloat16> dy(device(), rounded(uniform(n * od * oh * ow * c.out, 1))),
        before(device(), rounded(uniform(count, 2))), sum(device(), rounded(uniform(count, 2))),
        alone(device(), count);
    const Buffer<float> weight(device(), uniform(c.in * c.out * taps, 3));
    const auto of_x = [&](const Buffer<bfloat16>& b) { return contiguous_view(b.data(), n, d, h, w, c.in); };
    const View<const bfloat16> gradient = contiguous_view(dy.data(), n, od, oh, ow, c.out);
    conv3d_backward_input(of_x(alone), gradient, weight.data(), p, exec());
    conv3d_add_backward_input(of_x(sum), gradient, weight.data(), p, exec());
    const std::vector<bfloat16> a = before.get(), b = alone.get(), actual = sum.get();
    for (size_t i = 0; i < a.size(); ++i) {
      const float own = to_float(b[i]), expected = to_float(a[i]) + own;
      // The gradient alone was rounded, and the sum is.
      ASSERT_TRUE(std::abs(to_float(actual[i]) - expected) <= (std::abs(own) + std::abs(expected)) / 256)
          << i << ": " << to_float(actual[i]) << " " << expected;
    }
  }
}

TEST_P(Conv3dStatisticsTest, NullPointersAreErrors) {
  const Buffer<bfloat16> x(device(), 16);
  const Buffer<float> weight(device(), 256);
  const View<bfloat16> view = contiguous_view(x.data(), 1, 1, 1, 1, 16);
  EXPECT_THROW(
      conv3d_forward(view, OutputStatistics{}, view, weight.data(), nullptr, {16, 16, 1, 1, 0}, exec()),
      std::invalid_argument);
}

}  // namespace
}  // namespace vg::test

#endif
