#pragma once

#include "kernels/augment/volumes.h"
#include "kernels/common/dispatch.h"

namespace vg::kernels {

// `results` is host memory for x.n volumes.
VG_DECLARE_IMPLEMENTATIONS(void volume_statistics(VolumeStatistics* results, View<const float> x,
                                                  const Exec& exec);)

/// The statistics of two parts of a volume together.
VG_INLINE VolumeStatistics combine(const VolumeStatistics& a, const VolumeStatistics& b) {
  return {b.minimum < a.minimum ? b.minimum : a.minimum, a.sum + b.sum};
}

}  // namespace vg::kernels
