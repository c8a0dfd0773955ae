#include "bench/network_flops.h"

namespace vg::bench {

Flops attention_unet_flops(const Architecture& a, double voxels) {
  Flops flops;
  const auto convolution = [&](double out_voxels, double in, double out, double taps,
                               bool input_gradient = true) {
    const double forward = 2 * out_voxels * in * out * taps;
    flops.forward += forward;
    flops.training += forward * (input_gradient ? 3 : 2);
  };
  const auto& c = a.channels;
  for (size_t level = 0; level < c.size(); ++level, voxels /= 8) {
    const auto channels = static_cast<double>(c[level]);
    convolution(voxels, static_cast<double>(level == 0 ? a.in_channels : c[level - 1]), channels, 27,
                level > 0);
    convolution(voxels, channels, channels, 27);
    if (level + 1 == c.size()) break;
    // Transposed convolution: each input voxel meets all 27 taps. Then gate (twice to half the channels, once
    // to one) and merge.
    convolution(voxels / 8, static_cast<double>(c[level + 1]), channels, 27);
    convolution(voxels, channels, static_cast<double>(c[level] / 2), 2);
    convolution(voxels, static_cast<double>(c[level] / 2), 1, 1);
    convolution(voxels, 2 * channels, channels, 27);
    if (level == 0) convolution(voxels, channels, static_cast<double>(a.out_channels), 1);
  }
  return flops;
}

}  // namespace vg::bench
