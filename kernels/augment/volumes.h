// What the augmentation kernels work on: whole volumes, each for itself.
//
// Views are [N, D, H, W, 1]: N volumes (the modalities of a subject), one channel, rows of W neighbours in
// memory (stride_w 1). TorchIO's axes 0, 1, 2 are D, H, W. Outputs are overwritten and may not overlap inputs
// unless a function says so.
#pragma once

#include <vector>

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

/// Throws std::invalid_argument unless y and x are volumes as above and of one shape.
template <class T>
void check_volumes(const char* function, const View<T>& y, const View<const T>& x);

/// Volumes [begin, end) of a view.
template <class T>
View<T> volume_range(View<T> view, int64_t begin, int64_t end) {
  view.data += begin * view.stride_n;
  view.n = end - begin;
  return view;
}

struct VolumeStatistics {
  float minimum;
  double sum;
};

/// Of each volume of x, on the host: waits for the stream. The same bits for any number of threads.
std::vector<VolumeStatistics> volume_statistics(View<const float> x, const Exec& exec);

}  // namespace vg::kernels
