// The ladder: study versions of one kernel, each a step from the one before, that the product never links.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::ladder {

using kernels::bfloat16;
using kernels::DeviceKind;
using kernels::Exec;
using kernels::View;

/// y = the 3x3x3 convolution of x with stride 1, padding 1 and no bias. x: [N,D,H,W,in], y: [N,D,H,W,out],
/// whose voxels lie at multiples of 16 bytes; weight: (out, in, 3, 3, 3), floats. On the CPU x promises a
/// halo of one zero voxel.
template <class T>
using Convolve = void (*)(View<T> y, View<const T> x, const float* weight, const Exec& exec);

/// One version. Of `fp32` and `bf16` one is null: the type of its activations; sums are float.
struct Rung {
  const char* name;  ///< device and number, as in "cuda3"
  const char* title;
  const char* idea;  ///< in one line
  const char* file;  ///< where to read it
  DeviceKind device;
  Convolve<float> fp32;
  Convolve<bfloat16> bf16;
  int64_t channel_multiple;  ///< of input and output channels
  int64_t in_channels;       ///< the only number of them that it takes, or 0

  bool applies(int64_t in, int64_t out) const {
    return in % channel_multiple == 0 && out % channel_multiple == 0 &&
           (in_channels == 0 || in == in_channels);
  }
};

/// Of the convolution, first those on the CPU, then those on CUDA (in a build with CUDA), from the bottom up.
/// The last one of each device is the product's own kernel.
std::vector<Rung> conv3d_rungs();

}  // namespace vg::ladder
