#include "kernels/augment/voxelwise.h"
#include "kernels/common/parallel.h"
#include "kernels/common/voxel_tile.h"

namespace vg::kernels::cpu::VG_ISA {

template <class Transform>
void voxelwise(View<float> y, View<const float> x, const Transform& transform, const Exec&) {
  parallel_for(y.rows(), 1 + smallest_piece / y.w, [&](int64_t index) {
    const auto row = transform.row(index / (y.d * y.h), index / y.h % y.d, index % y.h);
    const float* const in = x.row(index);
    float* const out = y.row(index);
    Vec w = __builtin_convertvector(lane_indices(LaneSequence{}), Vec);
    int64_t i = 0;
    for (; i + lanes <= y.w; i += lanes, w += static_cast<float>(lanes)) store(out + i, row(load(in + i), w));
    if (i < y.w) store_partial(out + i, row(load_partial(in + i, y.w - i), w), y.w - i);
  });
}

#define VG_INSTANTIATE(Transform) \
  template void voxelwise(View<float>, View<const float>, const voxel::Transform&, const Exec&);
VG_VOXELWISE_TRANSFORMS(VG_INSTANTIATE)
#undef VG_INSTANTIATE

}  // namespace vg::kernels::cpu::VG_ISA
