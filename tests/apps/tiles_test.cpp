#include "apps/tiles.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/rng.h"
#include "layers/softmax.h"
#include "nets/network.h"

namespace vg::apps {
namespace {

TEST(Tiles, AreParsed) {
  EXPECT_EQ(parse_tile("auto"), std::nullopt);
  EXPECT_EQ(parse_tile("64,32,16"), (Extent{64, 32, 16}));
  for (const char* text :
       {"", "64", "64,32", "64,32,16,8", "64,0,16", "64,-1,16", "64,x,16", "64,1.5,16", "a"})
    EXPECT_THROW(parse_tile(text), std::runtime_error) << text;
}

TEST(Tiles, CoverAnAxisAndOverlapByHalf) {
  EXPECT_EQ(tile_starts(64, 64), (std::vector<int64_t>{0}));
  EXPECT_EQ(tile_starts(48, 64), (std::vector<int64_t>{0}));
  EXPECT_EQ(tile_starts(128, 64), (std::vector<int64_t>{0, 32, 64}));
  EXPECT_EQ(tile_starts(65, 64), (std::vector<int64_t>{0, 1}));
  for (const int64_t tile : {1, 2, 7, 16, 33}) {
    for (int64_t extent = 1; extent < 100; ++extent) {
      const std::vector<int64_t> starts = tile_starts(extent, tile);
      EXPECT_EQ(starts.front(), 0);
      EXPECT_EQ(starts.back(), std::max<int64_t>(0, extent - tile));
      for (size_t i = 1; i < starts.size(); ++i) {
        EXPECT_GT(starts[i], starts[i - 1]);
        EXPECT_LE(starts[i] - starts[i - 1], std::max<int64_t>(1, tile / 2)) << extent << " " << tile;
      }
    }
  }
}

TEST(Tiles, WeightsFallFromTheMiddle) {
  const std::vector<float> weights = tile_weights(16);
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(weights[i], weights[15 - i]);
    EXPECT_GT(weights[i], i > 0 ? weights[i - 1] : 0);
  }
  EXPECT_FLOAT_EQ(weights[6], static_cast<float>(std::exp(-0.5 * 0.75 * 0.75)));
  EXPECT_EQ(tile_weights(64).front(), 1e-3f);
  EXPECT_EQ(tile_weights(1), (std::vector<float>{1}));
}

TEST(Tiles, TheLargestThatFitsIsTaken) {
  const auto below = [](int64_t voxels) {
    return [voxels](const Extent& e) { return e[0] * e[1] * e[2] <= voxels; };
  };
  EXPECT_EQ(largest_tile({112, 128, 80}, 16, below(112 * 128 * 80)), (Extent{112, 128, 80}));
  EXPECT_EQ(largest_tile({112, 128, 80}, 16, below(112 * 128 * 80 - 1)), (Extent{112, 64, 80}));
  EXPECT_EQ(largest_tile({112, 128, 80}, 16, below(64 * 64 * 48)), (Extent{64, 64, 48}));
  EXPECT_EQ(largest_tile({512, 512, 512}, 16, below(16 * 16 * 16)), (Extent{16, 16, 16}));
  EXPECT_EQ(largest_tile({512, 512, 512}, 16, below(16 * 16 * 16 - 1)), std::nullopt);
}

// C = 2, classes = 3.
std::vector<float> some_image(const Extent& e) {
  std::vector<float> image(static_cast<size_t>(2 * e[0] * e[1] * e[2]));
  for (size_t i = 0; i < image.size(); ++i) image[i] = std::sin(static_cast<float>(i * i % 997));
  return image;
}

TEST(Tiles, WhatDependsOnAVoxelAloneIsBlendedToItself) {
  const Extent extent{9, 14, 11};
  const std::vector<float> image = some_image(extent);
  const auto swapped = [](const Tensor& tile) {
    const std::vector<float> values = tile.values_ncdhw();
    const size_t half = values.size() / 2;
    std::vector<float> result(values.begin() + static_cast<std::ptrdiff_t>(half), values.end());
    result.insert(result.end(), values.begin(), values.begin() + static_cast<std::ptrdiff_t>(half));
    return Tensor::activation_from_ncdhw(result, 1, 2, tile.size(1), tile.size(2), tile.size(3), Device::cpu);
  };
  const std::vector<float> result = predict_in_tiles(image, 2, extent, {4, 20, 5}, swapped);
  const size_t voxels = image.size() / 2;
  ASSERT_EQ(result.size(), image.size());
  for (size_t i = 0; i < voxels; ++i) {
    ASSERT_NEAR(result[2 * i], image[voxels + i], 1e-6) << i;
    ASSERT_NEAR(result[2 * i + 1], image[i], 1e-6) << i;
  }
}

TEST(Tiles, OverlapsAreWeightedMeans) {
  // The n-th tile says n: along W tiles begin at 0, 2 and 4.
  float n = 0;
  const std::vector<float> result =
      predict_in_tiles(std::vector<float>(8), 1, {1, 1, 8}, {1, 1, 4}, [&](const Tensor&) {
        return Tensor::activation_from_ncdhw(std::vector<float>(4, n++), 1, 1, 1, 1, 4, Device::cpu);
      });
  const std::vector<float> w = tile_weights(4);
  const std::vector<float> expected = {0,
                                       0,
                                       w[0] / (w[0] + w[2]),
                                       w[1] / (w[1] + w[3]),
                                       (w[2] + 2 * w[0]) / (w[2] + w[0]),
                                       (w[3] + 2 * w[1]) / (w[3] + w[1]),
                                       2,
                                       2};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(result[i], expected[i], 1e-6) << i;
}

TEST(Tiles, OfANetworkTakeLessMemoryAndOneTileIsTheNetworksOwnResult) {
  Rng rng(3);
  const auto network = make_network(
      {.in_channels = 2, .out_channels = 3, .channels = {16, 32}, .strides = {2}}, Device::cpu, rng);
  network->train(false);
  network->freeze(DType::float32);
  const NoGradGuard no_grad;
  const Extent extent{32, 40, 48};
  const std::vector<float> image = some_image(extent);
  const auto probabilities = [&](const Tensor& x) { return softmax((*network)(x)); };
  Allocator& allocator = Context::get().allocator(Device::cpu);
  const auto peak = [&](const Extent& tile, std::vector<float>& result) {
    allocator.reset_peak();
    result = predict_in_tiles(image, 2, extent, tile, probabilities);
    return allocator.statistics().peak_bytes_in_use;
  };
  std::vector<float> whole, tiled;
  const size_t of_whole = peak({64, 64, 64}, whole), of_tiles = peak({16, 16, 24}, tiled);
  EXPECT_LT(of_tiles, of_whole / 4);
  const Tensor x = Tensor::activation_from_ncdhw(image, 1, 2, extent[0], extent[1], extent[2], Device::cpu);
  const std::vector<float> direct = probabilities(x).values();
  ASSERT_EQ(whole.size(), direct.size());
  double difference = 0;
  for (size_t i = 0; i < direct.size(); ++i) {
    ASSERT_NEAR(whole[i], direct[i], 1e-6);  // weighted and divided by the weight
    difference += std::abs(static_cast<double>(tiled[i] - direct[i]));
    if (i % 3 == 2) {
      ASSERT_NEAR(tiled[i - 2] + tiled[i - 1] + tiled[i], 1, 1e-5);
    }
  }
  EXPECT_GT(difference, 0);
}

}  // namespace
}  // namespace vg::apps
