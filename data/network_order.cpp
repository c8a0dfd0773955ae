#include "data/network_order.h"

#include <algorithm>

#include "kernels/common/check.h"

namespace vg::data {
namespace {

/// Calls move(volume index, network index) for every voxel, in tiles that keep both orders within the cache.
template <class Move>
void for_each_voxel(const Geometry& geometry, const Move& move) {
  constexpr int64_t tile = 16;
  const auto [di, dj, dk] = geometry.extent;
  for (int64_t i0 = 0; i0 < di; i0 += tile) {
    for (int64_t j = 0; j < dj; ++j) {
      for (int64_t k0 = 0; k0 < dk; k0 += tile) {
        for (int64_t i = i0; i < std::min(di, i0 + tile); ++i) {
          for (int64_t k = k0; k < std::min(dk, k0 + tile); ++k)
            move(geometry.index(i, j, k), (i * dj + j) * dk + k);
        }
      }
    }
  }
}

void check(const char* function, const Geometry& geometry, size_t elements, int64_t channels,
           int64_t channel) {
  kernels::require(channel >= 0 && channel < channels, function, ": channel ", channel, " of ", channels);
  kernels::require(static_cast<int64_t>(elements) == geometry.voxels() * channels, function,
                   ": buffer holds ", elements, " values, expected ", geometry.voxels() * channels);
}

}  // namespace

void pack_image(const Image& image, std::span<float> out) {
  check("pack_image", image.geometry, out.size(), 1, 0);
  for_each_voxel(image.geometry, [&](int64_t v, int64_t n) { out[n] = image.voxels[v]; });
}

void pack_labels(const LabelMap& labels, std::span<uint8_t> out) {
  check("pack_labels", labels.geometry, out.size(), 1, 0);
  for_each_voxel(labels.geometry, [&](int64_t v, int64_t n) { out[n] = labels.voxels[v]; });
}

Image unpack_channel(std::span<const float> values, const Geometry& geometry, int64_t channels,
                     int64_t channel) {
  check("unpack_channel", geometry, values.size(), channels, channel);
  Image image{geometry, std::vector<float>(geometry.voxels())};
  for_each_voxel(geometry, [&](int64_t v, int64_t n) { image.voxels[v] = values[n * channels + channel]; });
  return image;
}

LabelMap unpack_labels(std::span<const uint8_t> classes, const Geometry& geometry) {
  check("unpack_labels", geometry, classes.size(), 1, 0);
  LabelMap labels{geometry, std::vector<uint8_t>(geometry.voxels())};
  for_each_voxel(geometry, [&](int64_t v, int64_t n) { labels.voxels[v] = classes[n]; });
  return labels;
}

}  // namespace vg::data
