// The weight gradient by Winograd needs sums in levels: along a strip in registers, over the strips of a
// piece, over the pieces; with many channels the strips are longer and there are no pieces. In one level the
// rounding errors of long sums show, which the last transform multiplies.
#include <algorithm>
#include <cmath>

#include "kernels/common/parallel.h"
#include "kernels/conv3d/conv3d_method.h"
#include "support/buffer.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using namespace vg::kernels::cpu;

// dweight[out][in] of all taps, in double.
std::vector<double> exact_gradient(const View<const float>& dy, const View<const float>& x, int64_t out,
                                   int64_t in) {
  std::vector<double> sums(27);
  parallel_for(27, 1, [&](int64_t tap) {
    const int64_t kd = tap / 9 - 1, kh = tap / 3 % 3 - 1, kw = tap % 3 - 1;
    double sum = 0;
    for (int64_t d = 0; d < dy.d; ++d) {
      for (int64_t h = 0; h < dy.h; ++h) {
        const float *g = dy.at(0, d, h, 0) + out, *p = x.at(0, d + kd, h + kh, kw) + in;
        for (int64_t w = 0; w < dy.w; ++w)
          sum += static_cast<double>(g[w * dy.stride_w]) * static_cast<double>(p[w * x.stride_w]);
      }
    }
    sums[static_cast<size_t>(tap)] = sum;
  });
  return sums;
}

// The largest error of some channels' gradients over the largest gradient, for values of one sign, as after a
// relu and under a loss that pushes all voxels one way: every addition rounds a large sum.
double error_of_sums_of_one_sign(int64_t in_channels, int64_t out_channels, int64_t d, int64_t h, int64_t w) {
  constexpr DeviceKind device = DeviceKind::cpu;
  const CpuSettings restore;
  force_convolution_method(ConvolutionMethod::winograd);
  Workspace workspace(device);
  const Exec exec{device, nullptr, &workspace};
  const Conv3dParams params{in_channels, out_channels, 3, 1, 1};
  const int64_t voxels = d * h * w;
  const Activation<float> x(device, 1, d, h, w, in_channels, uniform(voxels * in_channels, 1, 0, 1),
                            {1, 0, 0}),
      dy(device, 1, d, h, w, out_channels, uniform(voxels * out_channels, 2, 0, 1));
  EXPECT_STREQ(conv3d_backward_weight_algorithm(dy, x, params), "winograd");
  const Buffer<float> dweight(device, std::vector<float>(out_channels * in_channels * 27));
  conv3d_backward_weight(dweight.data(), dy, x, params, exec);
  const std::vector<float> actual = dweight.get();
  double worst = 0, largest = 0;
  for (const int64_t out : {int64_t{0}, out_channels - 11}) {
    for (const int64_t in : {int64_t{5}, in_channels - 1}) {
      const std::vector<double> expected = exact_gradient(dy, x, out, in);
      for (size_t tap = 0; tap < 27; ++tap) {
        const double value =
            static_cast<double>(actual[static_cast<size_t>(out * in_channels + in) * 27 + tap]);
        worst = std::max(worst, std::abs(value - expected[tap]));
        largest = std::max(largest, std::abs(expected[tap]));
      }
    }
  }
  return worst / largest;
}

// 12 strips of 80 positions in each of 16 pieces. 1.7e-7 is seen, without pieces 3.0e-7.
TEST(Conv3dWinogradSums, LongSumsOfOneSignStayExact) {
  EXPECT_LE(error_of_sums_of_one_sign(32, 48, 32, 96, 80), 2.4e-7);
}

// 64 strips in chunks of up to 5, all added to one set of sums, 160 positions at a time. 2.9e-7 is seen.
TEST(Conv3dWinogradSums, LongSumsOfManyChannelsStayExact) {
  EXPECT_LE(error_of_sums_of_one_sign(128, 64, 16, 64, 80), 4.5e-7);
}

}  // namespace
}  // namespace vg::test
