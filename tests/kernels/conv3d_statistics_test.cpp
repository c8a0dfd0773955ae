// The statistics that a bfloat16 convolution leaves for the norm behind it.
#ifdef VOXGRAD_WITH_CUDA

#include "kernels/common/bfloat16.h"
#include "kernels/conv3d/conv3d.h"
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
};
// Each algorithm: halo tiles, matrix products with and without a cut sum, stride 2, transposed, pointwise,
// direct; channels and the last tiles of each axis incomplete.
constexpr Case cases[] = {{16, 16, 3, 1, false}, {32, 16, 3, 1, false},  {32, 32, 3, 1, false},
                          {64, 32, 3, 1, false}, {48, 48, 3, 1, false},  {64, 64, 3, 1, false},
                          {80, 96, 3, 1, false}, {16, 32, 3, 2, false},  {32, 64, 3, 2, false},
                          {32, 16, 3, 2, true},  {64, 32, 3, 2, true},   {16, 4, 1, 1, false},
                          {32, 64, 1, 1, false}, {5, 3, 3, 1, false},    {4, 16, 3, 1, false},
                          {3, 5, 3, 2, true},    {128, 128, 3, 1, false}};

std::vector<bfloat16> rounded(const std::vector<float>& values) {
  std::vector<bfloat16> result;
  for (const float value : values) result.push_back(to_bfloat16(value));
  return result;
}

TEST_P(Conv3dStatisticsTest, AreThoseOfTheOutput) {
  constexpr int64_t n = 2, d = 3, h = 18, w = 11;
  for (const Case& c : cases) {
    for (const bool per_instance : {false, true}) {
      SCOPED_TRACE(::testing::Message()
                   << c.in << "->" << c.out << " kernel " << c.kernel_size << " stride " << c.stride
                   << (c.transposed ? " transposed" : "") << (per_instance ? " per instance" : ""));
      const auto extent = [&](int64_t e) { return c.transposed ? 2 * e : c.stride == 2 ? (e + 1) / 2 : e; };
      const int64_t od = extent(d), oh = extent(h), ow = extent(w), voxels = od * oh * ow;
      const Buffer<bfloat16> x(device(), rounded(uniform(n * d * h * w * c.in, 1)));
      const int64_t taps = c.kernel_size * c.kernel_size * c.kernel_size;
      const Buffer<float> weight(device(), uniform(c.in * c.out * taps, 2)),
          bias(device(), uniform(c.out, 3, 4, 5));  // means away from zero
      const Buffer<bfloat16> y(device(), n * voxels * c.out), plain(device(), n * voxels * c.out);
      const int64_t groups = per_instance ? n : 1;
      const Buffer<float> mean(device(), groups * c.out), variance(device(), groups * c.out);
      const auto view = [&](const Buffer<bfloat16>& b, int64_t vd, int64_t vh, int64_t vw, int64_t channels) {
        return contiguous_view(b.data(), n, vd, vh, vw, channels);
      };
      const OutputStatistics statistics{mean.data(), variance.data(), per_instance};
      const View<bfloat16> input = view(x, d, h, w, c.in), output = view(y, od, oh, ow, c.out),
                           unfused = view(plain, od, oh, ow, c.out);
      if (c.transposed) {
        const ConvTranspose3dParams p{.in_channels = c.in, .out_channels = c.out};
        conv_transpose3d_forward(output, statistics, input, weight.data(), bias.data(), p, exec());
        conv_transpose3d_forward(unfused, input, weight.data(), bias.data(), p, exec());
      } else {
        const Conv3dParams p{c.in, c.out, c.kernel_size, c.stride, c.kernel_size / 2};
        conv3d_forward(output, statistics, input, weight.data(), bias.data(), p, exec());
        conv3d_forward(unfused, input, weight.data(), bias.data(), p, exec());
      }
      const std::vector<bfloat16> values = y.get(), expected = plain.get();
      for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i].bits, expected[i].bits) << i;
      const std::vector<float> means = mean.get(), variances = variance.get();
      for (int64_t group = 0; group < groups; ++group) {
        for (int64_t channel = 0; channel < c.out; ++channel) {
          const int64_t first = group * voxels, last = per_instance ? first + voxels : n * voxels;
          double sum = 0, squares = 0, largest = 0;
          for (int64_t v = first; v < last; ++v) {
            const double value = to_float(values[static_cast<size_t>(v * c.out + channel)]);
            sum += value;
            squares += value * value;
            largest = std::max(largest, std::abs(value));
          }
          const double count = static_cast<double>(last - first), m = sum / count;
          // The stored values are rounded, those of the statistics may not be: 2^-9 of the largest each, and
          // the mean of many such errors is much smaller.
          const double rounding = largest / 512;
          const auto i = static_cast<size_t>(group * c.out + channel);
          EXPECT_TRUE(std::abs(means[i] - m) <= rounding / 2) << channel << ": " << means[i] << " " << m;
          const double v = squares / count - m * m;
          EXPECT_TRUE(std::abs(variances[i] - v) <= 2 * rounding * std::sqrt(v) + rounding * rounding)
              << channel << ": " << variances[i] << " " << v;
        }
      }
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
