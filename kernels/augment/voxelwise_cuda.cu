// A warp takes a row, its lanes neighbours in the row.
#include "kernels/augment/voxelwise.h"
#include "kernels/common/launch.cuh"

namespace vg::kernels::cuda {

namespace {

template <class Transform>
__global__ void voxelwise_kernel(View<float> y, View<const float> x,
                                 const __grid_constant__ Transform transform) {
  const int64_t index = thread_index() / 32;
  if (index >= y.rows()) return;
  const auto row = transform.row(index / (y.d * y.h), index / y.h % y.d, index % y.h);
  const float* const in = x.row(index);
  float* const out = y.row(index);
  for (int64_t w = threadIdx.x % 32; w < y.w; w += 32) out[w] = row(in[w], static_cast<float>(w));
}

}  // namespace

template <class Transform>
void voxelwise(View<float> y, View<const float> x, const Transform& transform, const Exec& exec) {
  voxelwise_kernel<<<blocks_for(32 * y.rows()), block_threads, 0, stream_of(exec)>>>(y, x, transform);
  check_launch();
}

#define VG_INSTANTIATE(Transform) \
  template void voxelwise(View<float>, View<const float>, const voxel::Transform&, const Exec&);
VG_VOXELWISE_TRANSFORMS(VG_INSTANTIATE)
#undef VG_INSTANTIATE

}  // namespace vg::kernels::cuda
