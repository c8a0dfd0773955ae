// Transforms that take a voxel by itself: y = f(x, place). A transform is a struct in namespace voxel with
//
//   Row row(int64_t n, int64_t d, int64_t h) const;   what all voxels of a row share, computed once
//   template <class V> V Row::operator()(V x, V w) const;   y of a voxel, or of a vector of neighbours
//
// both VG_INLINE, where w is the voxel's index in its row. It is copied to the device as it is. To add one: a
// header with the struct, a line in the list below, and the function that makes the struct of its parameters.
#pragma once

#include "kernels/augment/bias_field_voxel.h"
#include "kernels/augment/gamma_voxel.h"
#include "kernels/augment/noise_voxel.h"
#include "kernels/augment/spike_voxel.h"
#include "kernels/augment/volumes.h"
#include "kernels/common/dispatch.h"

// What the transforms are compiled for, on every device and instruction set.
#define VG_VOXELWISE_TRANSFORMS(apply) apply(BiasField) apply(Gamma) apply(Noise) apply(Spike)

namespace vg::kernels {

VG_DECLARE_IMPLEMENTATIONS(template <class Transform> void voxelwise(View<float> y, View<const float> x,
                                                                     const Transform& transform,
                                                                     const Exec& exec);)

/// y = transform of x, volumes that check_volumes has seen; y may be x.
template <class Transform>
void voxelwise(View<float> y, View<const float> x, const Transform& transform, const Exec& exec) {
  VG_DISPATCH(exec, voxelwise, y, x, transform, exec);
}

}  // namespace vg::kernels
