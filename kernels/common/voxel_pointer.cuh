// Addresses of voxels in [N,D,H,W] order, cheap where a view has one stride for all of them.
#pragma once

#include "kernels/common/launch.cuh"

namespace vg::kernels::cuda {

/// True if voxel i, in [N,D,H,W] order, lies at data + i * stride_w: a dense volume or channels of one.
template <class T>
bool one_stride(const View<T>& v) {
  return (v.h == 1 || v.stride_h == v.w * v.stride_w) && (v.d == 1 || v.stride_d == v.h * v.stride_h) &&
         (v.n == 1 || v.stride_n == v.d * v.stride_d) &&
         (v.w > 1 || (v.h == 1 && v.d == 1 && v.n == 1) || v.stride_w == v.c);
}

/// From the index of a voxel to its first channel. Five divisions a voxel cost more than loading it does:
/// they are left out where one stride leads from voxel to voxel.
template <class T>
struct VoxelPointer {
  View<T> view;
  int64_t step;  ///< 0: not one stride

  explicit VoxelPointer(const View<T>& v) : view(v), step(one_stride(v) ? v.stride_w : 0) {}
  __device__ T* operator()(int64_t index) const {
    return step != 0 ? view.data + index * step : voxel(view, index);
  }
};

}  // namespace vg::kernels::cuda
