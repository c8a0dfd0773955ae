// Four volumes and as many rows of them as fill a vector go through all steps together, within the
// first-level cache: rows of every moved copy, minus the row at rest; their halves that are even and odd
// under reflection w -> -w, which the filters do not mix, so that products of half the size do; the sum of
// the filtered halves.
#include "kernels/augment/motion_impl.h"
#include "kernels/augment/warp_rows.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

constexpr int rows_together = lanes / volumes_a_group;
constexpr int64_t most_pieces = 256;
constexpr int tile_rows = 8;  // of `multiply`: sums that stay in registers, as many as hide an FMA's latency

/// A row of `width` voxels has `even` and `odd` independent values that are even and odd under reflection.
struct Halves {
  int64_t width, even, odd;
  explicit Halves(int64_t row_width) : width(row_width), even(row_width / 2 + 1), odd((row_width - 1) / 2) {}
};

/// The filters of all movements side by side, on one of the halves: [half][movement][half].
struct HalfFilters {
  float *even, *odd;
};

HalfFilters half_filters(const MovedBand* bands, int64_t count, const Halves& halves, WorkspaceScope& scope) {
  const HalfFilters filters{scope.allocate<float>(static_cast<size_t>(halves.even * count * halves.even)),
                            scope.allocate<float>(static_cast<size_t>(halves.odd * count * halves.odd))};
  for (int64_t k = 0; k < count; ++k) {
    const float* const kernel = bands[k].kernel;
    const auto at = [&](int64_t i) { return kernel[(i + halves.width) % halves.width]; };
    for (int64_t i = 0; i < halves.even; ++i) {
      for (int64_t j = 0; j < halves.even; ++j) {
        const bool alone = j == 0 || 2 * j == halves.width;  // its own reflection
        filters.even[(i * count + k) * halves.even + j] = alone ? at(i - j) : (at(i - j) + at(i + j)) / 2;
      }
    }
    for (int64_t i = 0; i < halves.odd; ++i) {
      for (int64_t j = 0; j < halves.odd; ++j)
        filters.odd[(i * count + k) * halves.odd + j] = (at(i - j) - at(i + j + 2)) / 2;
    }
  }
  return filters;
}

/// out[i] = sum over k of matrix[i][k] * in[k]: vectors of `lanes` floats. `out` may be longer by a tile.
void multiply(float* out, const float* matrix, const float* in, int64_t rows, int64_t depth) {
  for (int64_t first = 0; first < rows; first += tile_rows) {
    const float* row[tile_rows];
#pragma GCC unroll 8
    for (int r = 0; r < tile_rows; ++r) row[r] = matrix + (first + r < rows ? first + r : rows - 1) * depth;
    Vec sum[tile_rows] = {};
    for (int64_t k = 0; k < depth; ++k) {
      const Vec value = load(in + k * lanes);
#pragma GCC unroll 8
      for (int r = 0; r < tile_rows; ++r) sum[r] += row[r][k] * value;
    }
#pragma GCC unroll 8
    for (int r = 0; r < tile_rows; ++r) store(out + (first + r) * lanes, sum[r]);
  }
}

/// What a thread needs for the rows that it has at hand: vectors of `lanes` floats, quads at the end.
struct Scratch {
  float *moved, *even, *odd, *filtered_even, *filtered_odd, *quads;
  static constexpr int64_t spare = tile_rows;  // vectors that `multiply` may write beyond its rows

  Scratch(float* memory, const Halves& halves, int64_t count) {
    moved = memory;
    even = moved + halves.width * lanes;
    odd = even + count * halves.even * lanes;
    filtered_even = odd + count * halves.odd * lanes;
    filtered_odd = filtered_even + (halves.even + spare) * lanes;
    quads = filtered_odd + (halves.odd + spare) * lanes;
  }
  static int64_t floats(const Halves& halves, int64_t count) {
    return (halves.width + (count + 1) * (halves.even + halves.odd) + 2 * spare + halves.width + lanes) *
           lanes;
  }
};

/// Rows h, h + 1, ... of plane d, as many as go together; those beyond the volume repeat its last one.
struct Rows {
  int64_t group, d, h, height;
  VG_INLINE int64_t row(int r) const { return h + r < height ? h + r : height - 1; }
};

/// moved[w][row, volume] = the moved copy minus the volume at rest.
void find_differences(float* moved, const Rows& rows, const View<const float>& packed,
                      const PlaceTable& table, Quad outside, int64_t ahead) {
  const View<const float> group = group_of(packed, rows.group);
  const int64_t width = packed.w - 2;
  Segment segment;
  for (int r = 0; r < rows_together; ++r) {
    const float* const rest = group.at(0, rows.d + 1, rows.row(r) + 1, 1);
    const auto row = table.row(rows.d * rows.height + rows.row(r), 1);
    for (int64_t w = 0; w < width; w += segment_voxels) {
      const int64_t count = width - w < segment_voxels ? width - w : segment_voxels;
      find_corners(segment, table, row, w, count, packed);
      blend_corners(segment, count, group, outside, ahead, [&](int64_t i, Quad value) {
        store_quad(moved + (w + i) * lanes + r * volumes_a_group,
                   value - load_quad(rest + (w + i) * volumes_a_group));
      });
    }
  }
}

void fold(float* even, float* odd, const float* moved, const Halves& halves) {
  store(even, load(moved));
  for (int64_t j = 1; j < halves.even; ++j) {
    const Vec a = load(moved + j * lanes), b = load(moved + (halves.width - j) * lanes);
    store(even + j * lanes, 2 * j == halves.width ? a : a + b);
    if (j <= halves.odd) store(odd + (j - 1) * lanes, a - b);
  }
}

/// quads[row][w] = the volume at rest + the sum of both halves.
void unfold(float* quads, const float* even, const float* odd, const Halves& halves, const Rows& rows,
            const View<const float>& packed) {
  const float* rest[rows_together];
  for (int r = 0; r < rows_together; ++r) rest[r] = packed.at(rows.group, rows.d + 1, rows.row(r) + 1, 1);
  const auto put = [&](int64_t w, Vec v) {
    float values[lanes];
    store(values, v);
    for (int r = 0; r < rows_together; ++r) {
      store_quad(quads + (r * halves.width + w) * volumes_a_group,
                 load_quad(rest[r] + w * volumes_a_group) + load_quad(values + r * volumes_a_group));
    }
  };
  for (int64_t i = 0; i < halves.even; ++i) {
    const Vec e = load(even + i * lanes);
    if (i == 0 || i > halves.odd) {
      put(i, e);
    } else {
      const Vec o = load(odd + (i - 1) * lanes);
      put(i, e + o);
      put(halves.width - i, e - o);
    }
  }
}

}  // namespace

void filter_moved(View<float> y, View<const float> packed, const MovedBand* bands, int64_t count,
                  const float* fill, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const Halves halves(y.w);
  const HalfFilters filters = half_filters(bands, count, halves, scope);
  const int64_t blocks = (y.h + rows_together - 1) / rows_together, items = packed.n * y.d * blocks;
  const int64_t pieces = reduction_pieces(items, 8, most_pieces), floats = Scratch::floats(halves, count);
  float* const memory = scope.allocate<float>(static_cast<size_t>(pieces * floats));
  parallel_for(pieces, 1, [&](int64_t piece) {
    const Scratch s(memory + piece * floats, halves, count);
    for (int64_t i = piece_begin(items, pieces, piece); i < piece_begin(items, pieces, piece + 1); ++i) {
      const Rows rows{i / blocks / y.d, i / blocks % y.d, i % blocks * rows_together, y.h};
      const int64_t first = rows.group * volumes_a_group;
      const int64_t volumes = y.n - first < volumes_a_group ? y.n - first : volumes_a_group;
      for (int64_t k = 0; k < volumes; ++k) {
        for (int r = 0; r < rows_together && rows.h + r < y.h; ++r)
          prefetch_row(y.at(first + k, rows.d, rows.h + r), y.w);
      }
      for (int64_t k = 0; k < count; ++k) {
        const Places& places = bands[k].places;
        find_differences(s.moved, rows, packed, PlaceTable(places, y, scope), fill_of(fill, first, volumes),
                         floats_ahead(places, packed));
        fold(s.even + k * halves.even * lanes, s.odd + k * halves.odd * lanes, s.moved, halves);
      }
      multiply(s.filtered_even, filters.even, s.even, halves.even, count * halves.even);
      multiply(s.filtered_odd, filters.odd, s.odd, halves.odd, count * halves.odd);
      unfold(s.quads, s.filtered_even, s.filtered_odd, halves, rows, packed);
      for (int r = 0; r < rows_together && rows.h + r < y.h; ++r) {
        split_volumes(s.quads + r * y.w * volumes_a_group, y.w, [&](int64_t k, int64_t w, Vec v) {
          if (k >= volumes) return;
          store_up_to(y.at(first + k, rows.d, rows.h + r) + w, v, y.w - w);
        });
      }
    }
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
