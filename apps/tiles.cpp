#include "apps/tiles.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "apps/cli_support.h"

namespace vg::apps {

std::optional<Extent> parse_tile(const std::string& text) {
  if (text == "auto") return std::nullopt;
  const std::runtime_error error("--tile " + text + ": expected auto, or three extents like 128,128,128");
  const std::vector<std::string> parts = split_commas(text);
  if (parts.size() != 3) throw error;
  Extent tile{};
  for (size_t axis = 0; axis < 3; ++axis) {
    if (parts[axis].empty() || parts[axis].size() > 6 ||
        parts[axis].find_first_not_of("0123456789") != std::string::npos)
      throw error;
    tile[axis] = std::stoll(parts[axis]);
    if (tile[axis] < 1) throw error;
  }
  return tile;
}

std::vector<int64_t> tile_starts(int64_t extent, int64_t tile) {
  if (tile >= extent) return {0};
  // As few as overlap by half, spread evenly.
  const int64_t step = std::max<int64_t>(1, tile / 2), last = extent - tile, gaps = (last + step - 1) / step;
  std::vector<int64_t> starts;
  for (int64_t i = 0; i <= gaps; ++i) starts.push_back(last * i / gaps);
  return starts;
}

std::vector<float> tile_weights(int64_t tile) {
  std::vector<float> weights;
  const double middle = static_cast<double>(tile - 1) / 2, deviation = static_cast<double>(tile) / 8;
  for (int64_t i = 0; i < tile; ++i) {
    const double distance = (static_cast<double>(i) - middle) / deviation;
    weights.push_back(static_cast<float>(std::max(1e-3, std::exp(-distance * distance / 2))));
  }
  return weights;
}

std::optional<Extent> largest_tile(const Extent& volume, int64_t multiple,
                                   const std::function<bool(const Extent&)>& fits) {
  const auto rounded = [&](int64_t value) { return (value + multiple - 1) / multiple * multiple; };
  Extent tile = volume;
  while (!fits(tile)) {
    int64_t& longest = *std::max_element(tile.begin(), tile.end());
    if (longest <= multiple) return std::nullopt;
    longest = std::min(longest - 1, rounded(longest / 2));
  }
  return tile;
}

namespace {

struct Tile {
  Extent begin, size;
};

/// That part of `image` [C, D, H, W].
Tensor cut(std::span<const float> image, int64_t channels, const Extent& extent, const Tile& tile) {
  const auto [d, h, w] = tile.size;
  std::vector<float> values;
  values.reserve(static_cast<size_t>(channels * d * h * w));
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = tile.begin[0]; i < tile.begin[0] + d; ++i) {
      for (int64_t j = tile.begin[1]; j < tile.begin[1] + h; ++j) {
        const auto row = image.begin() + ((c * extent[0] + i) * extent[1] + j) * extent[2] + tile.begin[2];
        values.insert(values.end(), row, row + w);
      }
    }
  }
  return Tensor::activation_from_ncdhw(values, 1, channels, d, h, w, Device::cpu);
}

}  // namespace

std::vector<float> predict_in_tiles(std::span<const float> image, int64_t channels, const Extent& extent,
                                    const Extent& tile, const TileFunction& network) {
  std::array<std::vector<int64_t>, 3> starts;
  std::array<std::vector<float>, 3> weights;
  Tile part;
  for (size_t axis = 0; axis < 3; ++axis) {
    part.size[axis] = std::min(tile[axis], extent[axis]);
    starts[axis] = tile_starts(extent[axis], part.size[axis]);
    weights[axis] = tile_weights(part.size[axis]);
  }
  std::vector<float> sums, total(static_cast<size_t>(extent[0] * extent[1] * extent[2]));
  int64_t classes = 0;
  const auto add = [&](const std::vector<float>& values) {
    size_t next = 0;
    for (int64_t i = 0; i < part.size[0]; ++i) {
      for (int64_t j = 0; j < part.size[1]; ++j) {
        const float of_row = weights[0][static_cast<size_t>(i)] * weights[1][static_cast<size_t>(j)];
        const int64_t row = ((part.begin[0] + i) * extent[1] + part.begin[1] + j) * extent[2] + part.begin[2];
        for (int64_t k = 0; k < part.size[2]; ++k) {
          const float weight = of_row * weights[2][static_cast<size_t>(k)];
          const auto voxel = static_cast<size_t>(row + k);
          total[voxel] += weight;
          for (int64_t c = 0; c < classes; ++c)
            sums[voxel * static_cast<size_t>(classes) + static_cast<size_t>(c)] += weight * values[next++];
        }
      }
    }
  };
  for (const int64_t i : starts[0]) {
    for (const int64_t j : starts[1]) {
      for (const int64_t k : starts[2]) {
        part.begin = {i, j, k};
        const Tensor result = network(cut(image, channels, extent, part));
        classes = result.size(4);
        sums.resize(total.size() * static_cast<size_t>(classes));
        add(result.values());
      }
    }
  }
  for (size_t i = 0; i < sums.size(); ++i) sums[i] /= total[i / static_cast<size_t>(classes)];
  return sums;
}

}  // namespace vg::apps
