#include <gtest/gtest.h>
#include <softmax/warp_softmax.cuh>

#include <algorithm>
#include <cmath>
#include <limits>

#include "exercises/support/device_array.cuh"
#include "support/random_data.h"

namespace exercise::softmax {
namespace {

void check(int voxels, int channels, float range) {
  SCOPED_TRACE(std::to_string(voxels) + " voxels of " + std::to_string(channels) + " channels");
  const auto logits = vg::test::uniform(voxels * channels, 1, -range, range);
  // Two more voxels behind the last one, which must stay as they are.
  const size_t count = logits.size(), guard = static_cast<size_t>(2 * channels);
  DeviceArray<float> x(logits);
  DeviceArray<float> y(std::vector<float>(count + guard, std::numeric_limits<float>::quiet_NaN()));
  warp_softmax(y.data(), x.data(), voxels, channels);
  const auto result = y.get();
  for (int v = 0; v < voxels; ++v) {
    const auto first = logits.begin() + v * channels;
    const double largest = *std::max_element(first, first + channels);
    double sum = 0;
    for (int c = 0; c < channels; ++c) sum += std::exp(first[c] - largest);
    for (int c = 0; c < channels; ++c) {
      const double expected = std::exp(first[c] - largest) / sum;
      ASSERT_NEAR(result[static_cast<size_t>(v * channels + c)], expected, 1e-6 + 1e-5 * expected)
          << "voxel " << v << ", channel " << c
          << ": have all lanes the maximum and the sum of all channels?";
    }
  }
  for (size_t i = count; i < count + guard; ++i)
    ASSERT_TRUE(std::isnan(result[i])) << "written beyond the last voxel";
}

TEST(SoftmaxWarpSoftmax, FewerChannelsThanLanes_cuda) {
  check(3, 1, 2);
  check(5, 7, 2);
}

TEST(SoftmaxWarpSoftmax, MoreChannelsThanLanes_cuda) {
  check(4, 32, 2);
  check(6, 33, 2);
  check(1, 200, 2);
}

TEST(SoftmaxWarpSoftmax, LogitsOfAnySize_cuda) {
  check(2, 40, 500);
}

TEST(SoftmaxWarpSoftmax, NoSharedMemory_cuda) {
  cudaFuncAttributes attributes{};
  ASSERT_EQ(cudaFuncGetAttributes(&attributes, warp_softmax_kernel_pointer()), cudaSuccess);
  EXPECT_EQ(attributes.sharedSizeBytes, 0u) << "bytes of shared memory: shuffles need none";
}

}  // namespace
}  // namespace exercise::softmax
