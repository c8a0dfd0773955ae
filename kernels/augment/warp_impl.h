// Places of voxels in the source, and the source as the kernels read it.
#pragma once

#include "kernels/augment/warp.h"
#include "kernels/common/dispatch.h"

namespace vg::kernels {

/// Basis weights of the four control points from `first` on; all zero where one of them is missing.
struct SplineTaps {
  int32_t first;
  float weight[4];
};

/// A SplineDisplacement with the basis tabulated. Pointers are the device's; null without a spline.
struct TabulatedSpline {
  int64_t points[3] = {};
  const float* displacement = nullptr;  ///< [points D][points H][points W][3]
  const SplineTaps* taps[3] = {};       ///< of each voxel along D, H, W of the volume that is written
};

/// Where voxel (d, h, w) is taken from, in voxels of the source.
struct Places {
  double matrix[3][4];
  TabulatedSpline spline;
};

/// Places without a spline.
Places affine_places(const std::array<std::array<double, 4>, 3>& matrix);

/// `fill` for each volume of x, or the minimum of each, on the device.
const float* fill_values(View<const float> x, std::optional<float> fill, WorkspaceScope& scope,
                         const Exec& exec);

/// A copy on the device that lives as long as the scope.
template <class T>
const T* upload(const std::vector<T>& values, WorkspaceScope& scope, const Exec& exec) {
  T* const copy = scope.allocate<T>(values.size());
  copy_memory(copy, exec.device, values.data(), DeviceKind::cpu, values.size() * sizeof(T), exec.stream);
  return copy;
}

/// Volumes that CUDA blends together: the weights of a voxel serve them all, and a corner of all of them is
/// one load of 16 bytes.
inline constexpr int64_t volumes_a_group = 4;

/// The volumes of x in groups: packed[g, d + 1, h + 1, w + 1, k] = x[4 g + k, d, h, w], and one voxel more on
/// every side that repeats the outermost. A blend with that one is the edge's value, so no place within half
/// a voxel of the volume needs care. Missing volumes of the last group repeat the last one. On CUDA.
View<const float> pack_volumes(View<const float> x, WorkspaceScope& scope, const Exec& exec);

/// `warp` of packed volumes, for several warps of the same ones. fill: a value for each volume, on the
/// device.
void warp_packed(View<float> y, View<const float> packed, const Places& places, const float* fill,
                 const Exec& exec);

// On CUDA: pack_volumes and warp_packed; on the CPU warp_linear, which packs by itself.
VG_DECLARE_IMPLEMENTATIONS(void pack_volumes(View<float> packed, View<const float> x, const Exec& exec);
                           void warp_packed(View<float> y, View<const float> packed, const Places& places,
                                            const float* fill, const Exec& exec);
                           void warp_linear(View<float> y, View<const float> x, const Places& places,
                                            const float* fill, const Exec& exec);
                           void warp_nearest(View<uint8_t> y, View<const uint8_t> x, const Places& places,
                                             uint8_t fill, const Exec& exec);)

}  // namespace vg::kernels
