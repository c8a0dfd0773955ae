// The order of voxels in the network against that in files.
//
// The network's D, H, W are a volume's i, j, k (as TorchIO hands (C, i, j, k) to PyTorch): a BraTS volume of
// 112x128x80 voxels is D = 112 (left to right), H = 128 (back to front), W = 80 (bottom to top). In NIfTI and
// in Volume i varies fastest; in samples, [C, D, H, W], k does; in the network's [D, H, W, C] the channel,
// then k. So voxels are transposed on the way in and on the way out.
#pragma once

#include <cstdint>
#include <span>

#include "data/volume.h"

namespace vg::data {

/// Writes an image into `out` [D, H, W].
void pack_image(const Image& image, std::span<float> out);
/// Writes a label map into `out` [D, H, W].
void pack_labels(const LabelMap& labels, std::span<uint8_t> out);
/// Channel `channel` of `values` [D, H, W, channels] as an image on `geometry`.
Image unpack_channel(std::span<const float> values, const Geometry& geometry, int64_t channels,
                     int64_t channel);
/// `classes` [D, H, W] as a label map on `geometry`.
LabelMap unpack_labels(std::span<const uint8_t> classes, const Geometry& geometry);

}  // namespace vg::data
