// A volume in overlapping tiles, for a network that the whole of it leaves no memory for.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace vg::apps {

/// D, H, W.
using Extent = std::array<int64_t, 3>;

/// "D,H,W" as a tile, or nothing for "auto". Throws std::runtime_error, naming --tile, for anything else or
/// for an extent below 1.
std::optional<Extent> parse_tile(const std::string& text);

/// Where tiles begin along an axis: the first at 0, the last ends with the volume, and each overlaps the next
/// by half a tile or more (nnU-Net's and MONAI's sliding window with overlap 0.5). {0} if one covers the
/// axis.
std::vector<int64_t> tile_starts(int64_t extent, int64_t tile);

/// Weights along an axis of a tile: a Gaussian with a deviation of an eighth of the tile around its middle,
/// at least 1e-3 (as MONAI's importance map; the weight of a voxel is the product over the axes).
std::vector<float> tile_weights(int64_t tile);

/// The whole volume if `fits`, else the first that does when the longest extent is halved again and again;
/// tiles stay multiples of `multiple`. Nothing if even the smallest does not fit.
std::optional<Extent> largest_tile(const Extent& volume, int64_t multiple,
                                   const std::function<bool(const Extent&)>& fits);

/// A network's results [1, d, h, w, classes], float32, for a tile [1, d, h, w, C] on the CPU.
using TileFunction = std::function<Tensor(const Tensor& tile)>;

/// Values [D, H, W, classes] on the host for a volume `image` [C, D, H, W], from tiles (an axis that is
/// shorter than the tile is taken whole): where tiles overlap their results are averaged, weighted with
/// tile_weights().
std::vector<float> predict_in_tiles(std::span<const float> image, int64_t channels, const Extent& extent,
                                    const Extent& tile, const TileFunction& network);

}  // namespace vg::apps
