// Rows of a packed volume at moved places: what warping and motion share on the CPU. A row is walked a
// segment at a time: places and weights of its voxels, then their eight corners. For *_cpu.cpp.
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

/// Control points along W for each row of y, what the axes D and H contribute summed: [d, h][stride], of
/// which [points W][3] are used.
struct ControlRows {
  const float* floats;
  int64_t stride;
};

/// out = the sum of four rows with the weights of `taps`; writes whole vectors.
VG_INLINE void sum_rows(float* out, const float* rows, int64_t stride, const SplineTaps& taps,
                        int64_t count) {
  for (int64_t i = 0; i < count; i += lanes) {
    Vec sum{};
    for (int k = 0; k < 4; ++k) sum += taps.weight[k] * load_up_to(rows + k * stride + i, count - i);
    store(out + i, sum);
  }
}

inline ControlRows collapse_spline(const TabulatedSpline& spline, int64_t depth, int64_t height,
                                   WorkspaceScope& scope) {
  const int64_t floats = 3 * spline.points[2], stride = (floats + lanes - 1) / lanes * lanes;
  const int64_t points_h = spline.points[1];
  float* const planes = scope.allocate<float>(static_cast<size_t>(depth * points_h * stride));
  float* const rows = scope.allocate<float>(static_cast<size_t>(depth * height * stride));
  parallel_for(depth, 1, [&](int64_t d) {
    const SplineTaps& along_d = spline.taps[0][d];
    float* const plane = planes + d * points_h * stride;
    for (int64_t h = 0; h < points_h; ++h) {
      sum_rows(plane + h * stride, spline.displacement + (along_d.first * points_h + h) * floats,
               points_h * floats, along_d, floats);
    }
    for (int64_t h = 0; h < height; ++h) {
      const SplineTaps& along_h = spline.taps[1][h];
      sum_rows(rows + (d * height + h) * stride, plane + along_h.first * stride, stride, along_h, floats);
    }
  });
  return {rows, stride};
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
    r.control = rows_.floats == nullptr ? nullptr : rows_.floats + index * rows_.stride;
    return r;
  }
  /// Of voxels w, w + 1, ... of a row; those beyond its end are unspecified.
  VG_INLINE void locate(Vec (&place)[3], const Row& row, int64_t w) const {
    Vec position;
    for (int i = 0; i < lanes; ++i) position[i] = static_cast<float>(i);
    position += static_cast<float>(w);
#pragma GCC unroll 3
    for (int a = 0; a < 3; ++a) place[a] = row.start[a] + position * row.step[a];
    if (row.control == nullptr) return;
    const SplineTaps* const taps = places_.spline.taps[2];
    const int32_t first = taps[w].first, last = taps[w + lanes < width_ ? w + lanes - 1 : width_ - 1].first;
    const int32_t low = first < last ? first : last, high = (first < last ? last : first) + 3;
    Vec displacement[3] = {};
    for (int32_t p = low; p <= high; ++p) {
      const Vec weight = load(along_w_.weights + p * along_w_.stride + w);
#pragma GCC unroll 3
      for (int a = 0; a < 3; ++a) displacement[a] += weight * row.control[3 * p + a];
    }
#pragma GCC unroll 3
    for (int a = 0; a < 3; ++a) place[a] += displacement[a];
  }

 private:
  const Places& places_;
  int64_t height_, width_;
  ControlRows rows_{};
  DenseTaps along_w_{};
};

/// A volume in pairs along D: voxel (d + 1, h + 1, w + 1) is {x[d, h, w], x[d + 1, h, w]}, and there is one
/// voxel more on every side that repeats the outermost. A blend with that one is the edge's value, so no
/// place within half a voxel of the volume needs care.
inline View<float> allocate_pairs(const View<const float>& x, WorkspaceScope& scope) {
  const auto floats = static_cast<size_t>((x.d + 2) * (x.h + 2) * (x.w + 2) * 2);
  return contiguous_view(scope.allocate<float>(floats), 1, x.d + 2, x.h + 2, x.w + 2, 2);
}

template <size_t... Lane>
VG_INLINE void store_pairs(float* out, Vec a, Vec b, std::index_sequence<Lane...>) {
  store(out, __builtin_shufflevector(a, b, (Lane / 2 + (Lane % 2) * lanes)...));
  store(out + lanes, __builtin_shufflevector(a, b, ((Lane + lanes) / 2 + (Lane % 2) * lanes)...));
}
/// Volume n of x.
inline void pack_pairs(const View<float>& pairs, const View<const float>& x, int64_t n) {
  const auto inner = [](int64_t i, int64_t extent) { return i == 0 ? 0 : (i > extent ? extent - 1 : i - 1); };
  parallel_for(pairs.rows(), rows_a_task, [&](int64_t row) {
    const int64_t d = row / pairs.h, h = inner(row % pairs.h, x.h);
    const float *const front = x.at(n, inner(d, x.d), h), *const back = x.at(n, inner(d + 1, x.d), h);
    float* const out = pairs.row(row);
    int64_t w = 0;
    for (; w + lanes <= x.w; w += lanes)
      store_pairs(out + 2 * (w + 1), load(front + w), load(back + w), std::make_index_sequence<lanes>());
    for (; w < x.w; ++w) out[2 * (w + 1)] = front[w], out[2 * (w + 1) + 1] = back[w];
    out[0] = front[0], out[1] = back[0];
    out[2 * (x.w + 1)] = front[x.w - 1], out[2 * (x.w + 1) + 1] = back[x.w - 1];
  });
}

/// A packed volume and the places within half a voxel of the volume, as places in the packed one.
struct Source {
  View<const float> pairs;
  float first = 0.5f, last[3];
  int64_t ahead;  ///< floats by which the source of a voxel lies farther on three planes of y later
  Source(const View<const float>& packed, const Places& places) : pairs(packed), ahead(0) {
    const int64_t extent[3] = {pairs.d, pairs.h, pairs.w};
    const int64_t stride[3] = {pairs.stride_d, pairs.stride_h, pairs.stride_w};
    for (int a = 0; a < 3; ++a) {
      last[a] = __builtin_nextafterf(static_cast<float>(extent[a]) - 1.5f, 0);
      const double voxels = 3 * places.matrix[a][0];
      if (voxels > -1e6 && voxels < 1e6) ahead += static_cast<int64_t>(voxels) * stride[a];
    }
  }
};

/// What is known of the voxels of a segment.
struct Segment {
  alignas(64) float weight[3][segment_voxels];  ///< of the upper neighbour along D, H, W
  int32_t corner[segment_voxels];               ///< voxel of the packed source
  int32_t inside[segment_voxels];               ///< all bits set, or none
};

VG_INLINE void find_corners(Segment& segment, const PlaceTable& table, const PlaceTable::Row& row,
                            int64_t first, int64_t count, const Source& source) {
  const auto height = static_cast<int32_t>(source.pairs.h), width = static_cast<int32_t>(source.pairs.w);
  for (int64_t i = 0; i < count; i += lanes) {
    Vec place[3];
    table.locate(place, row, first + i);
    VecInt inside = ~VecInt{}, corner{};
#pragma GCC unroll 3
    for (int a = 0; a < 3; ++a) {
      // What is no number becomes `first`.
      const Vec nearest = min(max(place[a], broadcast(source.first)), broadcast(source.last[a]));
      inside &= nearest == place[a];
      const VecInt lower = truncate(nearest);
      store(segment.weight[a] + i, nearest - to_float(lower));
      corner = a == 0 ? lower : corner * (a == 1 ? height : width) + lower;
    }
    store_integers(segment.corner + i, corner);
    store_integers(segment.inside + i, inside);
  }
}

/// Two neighbours along W of a packed volume, which are four of the eight corners of a voxel.
typedef float Corners __attribute__((vector_size(4 * sizeof(float))));
template <class Half, size_t... I>
VG_INLINE auto concatenate(Half a, Half b, std::index_sequence<I...>) {
  return __builtin_shufflevector(a, b, I...);
}
/// Of `Voxels` voxels, every fourth of a segment.
template <int Voxels>
VG_INLINE auto load_corners(const float* volume, const int32_t* corner) {
  if constexpr (Voxels == 1) {
    Corners v;
    std::memcpy(&v, volume + int64_t{*corner} * 2, sizeof v);
    return v;
  } else {
    return concatenate(load_corners<Voxels / 2>(volume, corner),
                       load_corners<Voxels / 2>(volume, corner + Voxels / 2 * 4),
                       std::make_index_sequence<Voxels * 4>());
  }
}

/// Element I of every four.
template <int I, size_t... Lane>
VG_INLINE Vec repeat(Vec v, std::index_sequence<Lane...>) {
  return __builtin_shufflevector(v, v, (Lane / 4 * 4 + I)...);
}
/// The corners of voxels I, I + 4, ... of a vector of them, blended along H.
template <int I>
VG_INLINE Vec blend_rows(const Source& source, const int32_t* corner, Vec weight) {
  const Vec lower = load_corners<lanes / 4>(source.pairs.data, corner + I),
            upper = load_corners<lanes / 4>(source.pairs.data + source.pairs.stride_h, corner + I);
  return lower + repeat<I>(weight, std::make_index_sequence<lanes>()) * (upper - lower);
}
template <size_t... Lane>
VG_INLINE void interleave(Vec a, Vec b, Vec& lower, Vec& upper, std::index_sequence<Lane...>) {
  lower = __builtin_shufflevector(a, b, (Lane / 4 * 4 + Lane % 4 / 2 + Lane % 2 * lanes)...);
  upper = __builtin_shufflevector(a, b, (Lane / 4 * 4 + Lane % 4 / 2 + Lane % 2 * lanes + 2)...);
}
/// a0 b0 a1 b1 and a2 b2 a3 b3 of every four.
VG_INLINE void interleave(Vec a, Vec b, Vec& lower, Vec& upper) {
  interleave(a, b, lower, upper, std::make_index_sequence<lanes>());
}

/// Calls take(i, values of voxels i, i + 1, ... of the segment): trilinear. Beyond `count` they are
/// unspecified.
template <class Take>
VG_INLINE void blend_corners(const Segment& segment, int64_t count, const Source& source, float fill,
                             const Take& take) {
  constexpr int64_t line = 16;  // floats of a cache line
  for (int64_t i = 0; i < count; i += lanes) {
    const int32_t* const corner = segment.corner + i;
    // The order of reading follows the places, which no hardware foresees.
    for (int k = 0; k < lanes; k += line / 2)
      __builtin_prefetch(source.pairs.data + int64_t{corner[k]} * 2 + source.ahead);
    const Vec along_d = load(segment.weight[0] + i), along_h = load(segment.weight[1] + i),
              along_w = load(segment.weight[2] + i);
    const Vec blended[4] = {blend_rows<0>(source, corner, along_h), blend_rows<1>(source, corner, along_h),
                            blend_rows<2>(source, corner, along_h), blend_rows<3>(source, corner, along_h)};
    // A transposition of each four voxels with their four corners.
    Vec even[2], odd[2], neighbour[4];
    interleave(blended[0], blended[2], even[0], even[1]);
    interleave(blended[1], blended[3], odd[0], odd[1]);
    for (int k = 0; k < 2; ++k) interleave(even[k], odd[k], neighbour[2 * k], neighbour[2 * k + 1]);
    const Vec lower = neighbour[0] + along_d * (neighbour[1] - neighbour[0]),
              upper = neighbour[2] + along_d * (neighbour[3] - neighbour[2]),
              value = lower + along_w * (upper - lower);
    VecInt inside;
    std::memcpy(&inside, segment.inside + i, sizeof inside);
    take(i, inside ? value : broadcast(fill));
  }
}

/// Asks for the lines of a row that will be written, which takes as long as to read them.
VG_INLINE void prefetch_row(float* row, int64_t width) {
  constexpr int64_t line = 16;  // floats of a cache line
  for (int64_t w = 0; w < width; w += line) __builtin_prefetch(row + w, 1);
}

}  // namespace vg::kernels::cpu::VG_ISA
