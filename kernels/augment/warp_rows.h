// Rows of packed volumes at moved places: what warping and motion share on the CPU. A row is walked a segment
// at a time: places and weights of its voxels as vectors, then voxel by voxel the eight corners of four
// volumes at once. For *_cpu.cpp.
#pragma once

#include "kernels/augment/warp_impl.h"
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"

namespace vg::kernels::cpu::VG_ISA {

inline constexpr int64_t segment_voxels = 256;  ///< the scratch of a segment stays in the first-level cache
inline constexpr int64_t rows_a_task = 16;

VG_INLINE Vec to_float(VecInt v) {
  return __builtin_convertvector(v, Vec);
}
VG_INLINE VecInt truncate(Vec v) {
  return __builtin_convertvector(v, VecInt);
}
VG_INLINE void store_integers(int32_t* p, VecInt v) {
  std::memcpy(p, &v, sizeof v);
}

/// Control points along W for each row of y, what the axes D and H contribute summed: [d, h][points W][3].
inline float* collapse_spline(const TabulatedSpline& spline, int64_t depth, int64_t height,
                              WorkspaceScope& scope) {
  const int64_t row_floats = 3 * spline.points[2], plane_floats = spline.points[1] * row_floats;
  float* const rows = scope.allocate<float>(static_cast<size_t>(depth * height * row_floats));
  parallel_for(depth * height, rows_a_task, [&](int64_t row) {
    const SplineTaps &along_d = spline.taps[0][row / height], &along_h = spline.taps[1][row % height];
    const float* const points =
        spline.displacement + along_d.first * plane_floats + along_h.first * row_floats;
    for (int64_t i = 0; i < row_floats; ++i) {
      float sum = 0;
      for (int j = 0; j < 4; ++j) {
        for (int k = 0; k < 4; ++k)
          sum += along_d.weight[j] * along_h.weight[k] * points[j * plane_floats + k * row_floats + i];
      }
      rows[row * row_floats + i] = sum;
    }
  });
  return rows;
}

/// Basis weights along W with a row for each control point, padded to whole vectors: [points W][stride].
struct DenseTaps {
  const float* weights;
  int64_t stride;
};
inline DenseTaps dense_taps(const TabulatedSpline& spline, int64_t width, WorkspaceScope& scope) {
  const int64_t stride = (width + lanes - 1) / lanes * lanes;
  const auto floats = static_cast<size_t>(spline.points[2] * stride);
  float* const weights = scope.allocate<float>(floats);
  std::memset(weights, 0, floats * sizeof(float));
  for (int64_t w = 0; w < width; ++w) {
    const SplineTaps& taps = spline.taps[2][w];
    for (int k = 0; k < 4; ++k) weights[(taps.first + k) * stride + w] = taps.weight[k];
  }
  return {weights, stride};
}

/// Places of the voxels of y, row by row.
class PlaceTable {
 public:
  template <class T>
  PlaceTable(const Places& places, const View<T>& y, WorkspaceScope& scope)
      : places_(places), height_(y.h), width_(y.w) {
    if (places.spline.displacement == nullptr) return;
    rows_ = collapse_spline(places.spline, y.d, y.h, scope);
    along_w_ = dense_taps(places.spline, y.w, scope);
  }

  /// Where a row starts and what a voxel along it adds.
  struct Row {
    float start[3], step[3];
    const float* control;  ///< points along W, null without a spline
  };
  /// `offset` is added to every place.
  VG_INLINE Row row(int64_t index, double offset) const {
    Row r;
    const auto d = static_cast<double>(index / height_), h = static_cast<double>(index % height_);
    for (int a = 0; a < 3; ++a) {
      const double(&m)[4] = places_.matrix[a];
      r.start[a] = static_cast<float>(m[0] * d + m[1] * h + m[3] + offset);
      r.step[a] = static_cast<float>(m[2]);
    }
    r.control = rows_ == nullptr ? nullptr : rows_ + index * 3 * places_.spline.points[2];
    return r;
  }
  /// Of voxels w, w + 1, ... of a row; those beyond its end are unspecified.
  VG_INLINE void locate(Vec (&place)[3], const Row& row, int64_t w) const {
    Vec position;
    for (int i = 0; i < lanes; ++i) position[i] = static_cast<float>(i);
    position += static_cast<float>(w);
    for (int a = 0; a < 3; ++a) place[a] = row.start[a] + position * row.step[a];
    if (row.control == nullptr) return;
    const SplineTaps* const taps = places_.spline.taps[2];
    const int32_t first = taps[w].first, last = taps[w + lanes < width_ ? w + lanes - 1 : width_ - 1].first;
    const int32_t low = first < last ? first : last, high = (first < last ? last : first) + 3;
    Vec displacement[3] = {};
    for (int32_t p = low; p <= high; ++p) {
      const Vec weight = load(along_w_.weights + p * along_w_.stride + w);
      for (int a = 0; a < 3; ++a) displacement[a] += weight * row.control[3 * p + a];
    }
    for (int a = 0; a < 3; ++a) place[a] += displacement[a];
  }

 private:
  const Places& places_;
  int64_t height_, width_;
  const float* rows_ = nullptr;
  DenseTaps along_w_{};
};

/// What is known of the voxels of a segment.
struct Segment {
  alignas(64) float weight[3][segment_voxels];  ///< of the upper neighbour along D, H, W
  int32_t corner[segment_voxels];               ///< voxel of the packed source
  int32_t inside[segment_voxels];               ///< all bits set, or none
};

VG_INLINE void find_corners(Segment& segment, const PlaceTable& table, const PlaceTable::Row& row,
                            int64_t first, int64_t count, const View<const float>& packed) {
  const float limit[3] = {static_cast<float>(packed.d) - 1.5f, static_cast<float>(packed.h) - 1.5f,
                          static_cast<float>(packed.w) - 1.5f};
  const auto height = static_cast<int32_t>(packed.h), width = static_cast<int32_t>(packed.w);
  for (int64_t i = 0; i < count; i += lanes) {
    Vec place[3];
    table.locate(place, row, first + i);
    VecInt inside = ~VecInt{}, corner{};
    for (int a = 0; a < 3; ++a) inside &= (place[a] >= 0.5f) & (place[a] < limit[a]);
    for (int a = 0; a < 3; ++a) {
      place[a] = inside ? place[a] : broadcast(1.0f);
      const VecInt lower = truncate(place[a]);
      store(segment.weight[a] + i, place[a] - to_float(lower));
      corner = a == 0 ? lower : corner * (a == 1 ? height : width) + lower;
    }
    store_integers(segment.corner + i, corner);
    store_integers(segment.inside + i, inside);
  }
}

template <size_t... Lane>
VG_INLINE void split_pairs(Vec a, Vec b, Vec& even, Vec& odd, std::index_sequence<Lane...>) {
  even = __builtin_shufflevector(a, b, (2 * Lane)...);
  odd = __builtin_shufflevector(a, b, (2 * Lane + 1)...);
}
// Floats i of both vectors together go to `even` and `odd` in turn.
VG_INLINE void split_pairs(Vec a, Vec b, Vec& even, Vec& odd) {
  split_pairs(a, b, even, odd, std::make_index_sequence<lanes>());
}
/// One voxel of four volumes.
typedef float Quad __attribute__((vector_size(volumes_a_group * sizeof(float))));
VG_INLINE Quad load_quad(const float* p) {
  Quad v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
VG_INLINE void store_quad(float* p, Quad v) {
  std::memcpy(p, &v, sizeof v);
}

/// Group `index` of packed volumes, and what lies outside of its volumes `first` and following.
VG_INLINE View<const float> group_of(View<const float> packed, int64_t index) {
  packed.data = packed.at(index, 0, 0);
  packed.n = 1;
  return packed;
}
VG_INLINE Quad fill_of(const float* fill, int64_t first, int64_t volumes) {
  Quad v{};
  for (int64_t k = 0; k < volumes; ++k) v[k] = fill[first + k];
  return v;
}

/// Calls take(i, value) for the voxels of the segment: trilinear, along H and D for both neighbours along W
/// at once. `ahead` floats on lies what a later plane of y will need: the order of reading follows the
/// places, which no hardware foresees.
template <class Take>
VG_INLINE void blend_corners(const Segment& segment, int64_t count, const View<const float>& group, Quad fill,
                             int64_t ahead, const Take& take) {
  typedef float Neighbours __attribute__((vector_size(2 * sizeof(Quad))));
  typedef int32_t Mask __attribute__((vector_size(sizeof(Quad))));
  for (int64_t i = 0; i < count; ++i) {
    const float* const corner = group.data + segment.corner[i] * volumes_a_group;
    const float along_d = segment.weight[0][i], along_h = segment.weight[1][i],
                along_w = segment.weight[2][i];
    __builtin_prefetch(corner + ahead);
    Neighbours line[2][2];
    std::memcpy(&line[0][0], corner, sizeof(Neighbours));
    std::memcpy(&line[0][1], corner + group.stride_h, sizeof(Neighbours));
    std::memcpy(&line[1][0], corner + group.stride_d, sizeof(Neighbours));
    std::memcpy(&line[1][1], corner + group.stride_d + group.stride_h, sizeof(Neighbours));
    const Neighbours front = line[0][0] + along_h * (line[0][1] - line[0][0]),
                     back = line[1][0] + along_h * (line[1][1] - line[1][0]),
                     between = front + along_d * (back - front);
    const Quad lower = __builtin_shufflevector(between, between, 0, 1, 2, 3),
               upper = __builtin_shufflevector(between, between, 4, 5, 6, 7);
    const Mask inside = Mask{} + segment.inside[i];
    take(i, inside ? lower + along_w * (upper - lower) : fill);
  }
}

/// Calls take(k, i, floats i, i + 1, ... of volume k) for the rows of four volumes that `quads`, `count`
/// voxels, are made of; reads whole vectors.
template <class Take>
VG_INLINE void split_volumes(const float* quads, int64_t count, const Take& take) {
  for (int64_t i = 0; i < count; i += lanes) {
    Vec in[4], even[2], odd[2], volume[4];
    for (int k = 0; k < 4; ++k) in[k] = load(quads + i * volumes_a_group + k * lanes);
    for (int k = 0; k < 2; ++k) split_pairs(in[2 * k], in[2 * k + 1], even[k], odd[k]);
    split_pairs(even[0], even[1], volume[0], volume[2]);
    split_pairs(odd[0], odd[1], volume[1], volume[3]);
    for (int k = 0; k < 4; ++k) take(k, i, volume[k]);
  }
}

/// Asks for the lines of a row that will be written, which takes as long as to read them.
VG_INLINE void prefetch_row(float* row, int64_t width) {
  constexpr int64_t line = 16;  // floats of a cache line
  for (int64_t w = 0; w < width; w += line) __builtin_prefetch(row + w, 1);
}

/// How far in the packed source the place of a voxel moves within three planes of y.
inline int64_t floats_ahead(const Places& places, const View<const float>& packed) {
  const int64_t stride[3] = {packed.stride_d, packed.stride_h, packed.stride_w};
  int64_t floats = 0;
  for (int a = 0; a < 3; ++a) {
    const double voxels = 3 * places.matrix[a][0];
    if (voxels > -1e6 && voxels < 1e6) floats += static_cast<int64_t>(voxels) * stride[a];
  }
  return floats;
}

}  // namespace vg::kernels::cpu::VG_ISA
