#include <gtest/gtest.h>
#include <reduce/block_sums.cuh>

#include <limits>
#include <numeric>

#include "exercises/support/device_array.cuh"
#include "support/random_data.h"

namespace exercise::reduce {
namespace {

std::vector<float> sums_of(const std::vector<float>& values) {
  const auto blocks = static_cast<int>(values.size() / 1024);
  DeviceArray<float> input(values);
  DeviceArray<float> sums(
      std::vector<float>(static_cast<size_t>(blocks), std::numeric_limits<float>::quiet_NaN()));
  block_sums(sums.data(), input.data(), blocks);
  return sums.get();
}

TEST(ReduceBlockSums, IntegersAreExact_cuda) {
  const auto values = vg::test::integers(3 * 1024, 1);
  const auto sums = sums_of(values);
  for (int b = 0; b < 3; ++b) {
    const auto first = values.begin() + 1024 * b;
    EXPECT_EQ(sums[static_cast<size_t>(b)], std::accumulate(first, first + 1024, 0.0f))
        << "sum " << b << ": NaN means that it was never written. Does every value of the four quarters take "
        << "part once, and does a barrier stand between what the warps leave and who adds it up?";
  }
}

TEST(ReduceBlockSums, SameBitsEachTime_cuda) {
  const auto values = vg::test::uniform(2 * 1024, 2);
  const auto first = sums_of(values);
  for (int run = 0; run < 3; ++run)
    EXPECT_EQ(sums_of(values), first) << "an order of additions that is not fixed";
}

TEST(ReduceBlockSums, AFloatOfSharedMemoryForEachWarp_cuda) {
  cudaFuncAttributes attributes{};
  ASSERT_EQ(cudaFuncGetAttributes(&attributes, block_sums_kernel_pointer()), cudaSuccess);
  EXPECT_LE(attributes.sharedSizeBytes, 8 * sizeof(float)) << "eight warps need eight floats";
}

}  // namespace
}  // namespace exercise::reduce
