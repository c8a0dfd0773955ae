// Rows of y, a segment at a time; then back from voxels of four volumes to four rows.
#include "kernels/augment/warp_rows.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

template <size_t... Lane>
VG_INLINE void join_pairs(Vec even, Vec odd, Vec& a, Vec& b, std::index_sequence<Lane...>) {
  a = __builtin_shufflevector(even, odd, (Lane / 2 + (Lane % 2) * lanes)...);
  b = __builtin_shufflevector(even, odd, ((Lane + lanes) / 2 + (Lane % 2) * lanes)...);
}
// The inverse of split_pairs.
VG_INLINE void join_pairs(Vec even, Vec odd, Vec& a, Vec& b) {
  join_pairs(even, odd, a, b, std::make_index_sequence<lanes>());
}

}  // namespace

// As a loop over the packed rows: the outermost rows and voxels are repeated.
void pack_volumes(View<float> packed, View<const float> x, const Exec&) {
  const auto inner = [](int64_t i, int64_t extent) { return i == 0 ? 0 : (i > extent ? extent - 1 : i - 1); };
  parallel_for(packed.rows(), rows_a_task, [&](int64_t row) {
    const int64_t d = inner(row / packed.h % packed.d, x.d), h = inner(row % packed.h, x.h);
    const float* in[volumes_a_group];
    for (int64_t k = 0; k < volumes_a_group; ++k) {
      const int64_t n = row / (packed.h * packed.d) * volumes_a_group + k;
      in[k] = x.at(n < x.n ? n : x.n - 1, d, h);
    }
    float* const out = packed.row(row);
    int64_t w = 0;
    for (; w + lanes <= x.w; w += lanes) {
      Vec even[2], odd[2], voxels[4];
      join_pairs(load(in[0] + w), load(in[2] + w), even[0], even[1]);
      join_pairs(load(in[1] + w), load(in[3] + w), odd[0], odd[1]);
      for (int k = 0; k < 2; ++k) join_pairs(even[k], odd[k], voxels[2 * k], voxels[2 * k + 1]);
      for (int k = 0; k < 4; ++k) store(out + (w + 1) * volumes_a_group + k * lanes, voxels[k]);
    }
    for (; w < x.w; ++w) {
      for (int64_t k = 0; k < volumes_a_group; ++k) out[(w + 1) * volumes_a_group + k] = in[k][w];
    }
    for (int64_t k = 0; k < volumes_a_group; ++k) {
      out[k] = in[k][0];
      out[(x.w + 1) * volumes_a_group + k] = in[k][x.w - 1];
    }
  });
}

void warp_packed(View<float> y, View<const float> packed, const Places& places, const float* fill,
                 const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const PlaceTable table(places, y, scope);
  const int64_t rows = y.d * y.h, ahead = floats_ahead(places, packed);
  parallel_for(packed.n * rows, rows_a_task, [&](int64_t task) {
    const int64_t first = task / rows * volumes_a_group, index = task % rows;
    const int64_t volumes = y.n - first < volumes_a_group ? y.n - first : volumes_a_group;
    const auto row = table.row(index, 1);
    const View<const float> group = group_of(packed, task / rows);
    const Quad outside = fill_of(fill, first, volumes);
    Segment segment;
    alignas(64) float blended[segment_voxels * volumes_a_group];
    for (int64_t k = 0; k < volumes; ++k) prefetch_row(y.at(first + k, index / y.h, index % y.h), y.w);
    for (int64_t w = 0; w < y.w; w += segment_voxels) {
      const int64_t count = y.w - w < segment_voxels ? y.w - w : segment_voxels;
      find_corners(segment, table, row, w, count, packed);
      blend_corners(segment, count, group, outside, ahead,
                    [&](int64_t i, Quad value) { store_quad(blended + i * volumes_a_group, value); });
      split_volumes(blended, count, [&](int64_t k, int64_t i, Vec v) {
        if (k < volumes) store_up_to(y.at(first + k, index / y.h, index % y.h) + w + i, v, count - i);
      });
    }
  });
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
