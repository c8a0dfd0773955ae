#pragma once

#include "kernels/augment/motion.h"
#include "kernels/augment/warp_impl.h"
#include "kernels/common/dispatch.h"

namespace vg::kernels {

/// The part of the spectrum that comes from the volume as it was moved to `places`, as a filter along W:
/// voxel i of a row gets the sum over j of kernel[|i - j|] times voxel j. kernel[i] = kernel[w - i]; host
/// memory.
struct MovedBand {
  Places places;
  const float* kernel;
};

// y = x + sum over bands of filter(moved x - x); on the CPU.
VG_DECLARE_IMPLEMENTATIONS(void filter_moved(View<float> y, View<const float> x, const MovedBand* bands,
                                             int64_t count, const float* fill, const Exec& exec);)

}  // namespace vg::kernels
