// The arithmetic of a network, for rates.
#pragma once

#include "nets/architecture.h"

namespace vg::bench {

/// Multiply-adds count two; convolutions only, padding taps counted. Training is forward and backward, which
/// is two more passes, but nothing needs the gradient of the input volume.
struct Flops {
  double forward = 0, training = 0;
};

/// Of an Attention U-Net and `voxels` voxels at full resolution.
Flops attention_unet_flops(const Architecture& architecture, double voxels);

}  // namespace vg::bench
