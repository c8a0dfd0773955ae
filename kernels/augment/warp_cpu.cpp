// Volume by volume, rows of y, a segment at a time.
#include "kernels/augment/warp_rows.h"

namespace vg::kernels::cpu::VG_ISA {

void warp_linear(View<float> y, View<const float> x, const Places& places, const float* fill,
                 const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const PlaceTable table(places, y, scope);
  const View<float> pairs = allocate_pairs(x, scope);
  const Source source(pairs, places);
  for (int64_t n = 0; n < y.n; ++n) {
    pack_pairs(pairs, x, n);
    parallel_for(y.d * y.h, rows_a_task, [&](int64_t index) {
      const auto row = table.row(index, 1);
      float* const out = y.at(n, index / y.h, index % y.h);
      prefetch_row(out, y.w);
      Segment segment;
      for (int64_t w = 0; w < y.w; w += segment_voxels) {
        const int64_t count = y.w - w < segment_voxels ? y.w - w : segment_voxels;
        find_corners(segment, table, row, w, count, source);
        blend_corners(segment, count, source, fill[n],
                      [&](int64_t i, Vec value) { store_up_to(out + w + i, value, count - i); });
      }
    });
  }
}

void warp_nearest(View<uint8_t> y, View<const uint8_t> x, const Places& places, uint8_t fill,
                  const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const PlaceTable table(places, y, scope);
  const float limit[3] = {static_cast<float>(x.d) - 0.5f, static_cast<float>(x.h) - 0.5f,
                          static_cast<float>(x.w) - 0.5f};
  const int32_t last[3] = {static_cast<int32_t>(x.d) - 1, static_cast<int32_t>(x.h) - 1,
                           static_cast<int32_t>(x.w) - 1};
  parallel_for(y.d * y.h, rows_a_task, [&](int64_t index) {
    const auto row = table.row(index, 0);
    for (int64_t w = 0; w < y.w; w += lanes) {
      Vec place[3];
      table.locate(place, row, w);
      VecInt inside = ~VecInt{}, voxel[3];
      for (int a = 0; a < 3; ++a) inside &= (place[a] >= -0.5f) & (place[a] < limit[a]);
      for (int a = 0; a < 3; ++a) {
        voxel[a] = truncate((inside ? place[a] : broadcast(0.0f)) + 0.5f);
        voxel[a] = voxel[a] > last[a] ? VecInt{} + last[a] : voxel[a];
      }
      const int64_t count = y.w - w < lanes ? y.w - w : lanes;
      for (int64_t n = 0; n < y.n; ++n) {
        uint8_t* const out = y.at(n, index / y.h, index % y.h, w);
        for (int64_t i = 0; i < count; ++i)
          out[i] = inside[i] != 0 ? *x.at(n, voxel[0][i], voxel[1][i], voxel[2][i]) : fill;
      }
    }
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
