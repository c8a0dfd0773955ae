// Exercise (CUDA): the softmax of many channels, a warp a voxel. Page: kernels/softmax/README.md.
#pragma once

#include <cuda_runtime.h>

#include "exercises/support/not_solved.h"

namespace exercise::softmax {

/// y = softmax(x) along channels; both [voxels][channels] in device memory, any number of channels.
///
/// The product takes a thread a voxel, which suits four channels. With hundreds, the lanes of a warp would
/// read floats that lie far apart. Write a kernel in which a warp takes a voxel: lane l reads channels l, l +
/// 32, .., so that a read of the warp is one run of memory; maximum and sum cross the lanes by
/// __shfl_xor_sync. Launch it here.
///
/// Solved when: right for 1 to 200 channels and logits of any size, for numbers of voxels that do not fill
/// the last block, without shared memory.
inline void warp_softmax(float* y, const float* x, int voxels, int channels) {
  not_solved();
}

/// The kernel, for the grader to ask for its shared memory.
inline const void* warp_softmax_kernel_pointer() {
  not_solved();
}

}  // namespace exercise::softmax
