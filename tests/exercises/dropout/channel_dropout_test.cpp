#include <gtest/gtest.h>

#include <dropout/channel_dropout.h>
#include <cmath>
#include <vector>

namespace exercise::dropout {
namespace {

TEST(DropoutChannelDropout, FollowsTheGeneratorOfSampleAndChannel) {
  constexpr int64_t n = 3, channels = 37;
  for (const float probability : {0.0f, 0.25f, 0.75f}) {
    for (const int64_t voxels : {1, 5}) {
      std::vector<float> x(static_cast<size_t>(n * voxels * channels), 2.0f), y(x.size(), NAN);
      channel_dropout(y.data(), x.data(), n, voxels, channels, probability, 7, 11);
      for (int64_t i = 0; i < n * voxels * channels; ++i) {
        const int64_t sample = i / (voxels * channels), channel = i % channels;
        const bool drop = vg::kernels::philox_uniform(
                              7, 11, static_cast<uint64_t>(sample * channels + channel)) < probability;
        ASSERT_FLOAT_EQ(y[static_cast<size_t>(i)], drop ? 0 : 2 / (1 - probability))
            << "sample " << sample << ", voxel " << i / channels % voxels << ", channel " << channel;
      }
    }
  }
}

TEST(DropoutChannelDropout, AnotherOffsetIsAnotherMask) {
  std::vector<float> x(64, 1.0f), first(64), second(64);
  channel_dropout(first.data(), x.data(), 1, 1, 64, 0.5f, 7, 0);
  channel_dropout(second.data(), x.data(), 1, 1, 64, 0.5f, 7, 1);
  EXPECT_NE(first, second);
}

}  // namespace
}  // namespace exercise::dropout
