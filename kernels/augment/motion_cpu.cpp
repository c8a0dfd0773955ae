// As many rows of a volume as a vector has lanes go through all steps together, within the first-level cache:
// rows of every moved copy, minus the row at rest; their halves that are even and odd under reflection
// w -> -w, which the filters do not mix, so that products of half the size do; the sum of the filtered
// halves.
#include "kernels/augment/motion_impl.h"
#include "kernels/augment/warp_rows.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

constexpr int64_t most_pieces = 256;
constexpr int tile_rows = 14;  // of `multiply`: sums that stay in registers

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
#pragma GCC unroll 14
    for (int r = 0; r < tile_rows; ++r) row[r] = matrix + (first + r < rows ? first + r : rows - 1) * depth;
    Vec sum[tile_rows] = {};
    for (int64_t k = 0; k < depth; ++k) {
      const Vec value = load(in + k * lanes);
#pragma GCC unroll 14
      for (int r = 0; r < tile_rows; ++r) sum[r] += row[r][k] * value;
    }
#pragma GCC unroll 14
    for (int r = 0; r < tile_rows; ++r) store(out + (first + r) * lanes, sum[r]);
  }
}

/// What a thread needs for the rows that it has at hand.
struct Scratch {
  int64_t stride;  ///< of `rows`: their width in whole vectors
  float* rows;     ///< [lanes][stride]
  float* voxels;   ///< [stride][lanes]; this and what follows are vectors with a lane for each row
  float *even, *odd, *filtered_even, *filtered_odd;
  static constexpr int64_t spare = tile_rows;  // vectors that `multiply` may write beyond its rows

  Scratch(float* memory, const Halves& halves, int64_t count) : stride(whole_vectors(halves.width)) {
    rows = memory;
    voxels = rows + stride * lanes;
    even = voxels + stride * lanes;
    odd = even + count * halves.even * lanes;
    filtered_even = odd + count * halves.odd * lanes;
    filtered_odd = filtered_even + (halves.even + spare) * lanes;
  }
  static int64_t whole_vectors(int64_t width) { return (width + lanes - 1) / lanes * lanes; }
  static int64_t floats(const Halves& halves, int64_t count) {
    return (2 * whole_vectors(halves.width) + (count + 1) * (halves.even + halves.odd) + 2 * spare) * lanes;
  }
};

/// Rows h, h + 1, ... of a plane of a volume, as many as go together or are left.
struct Rows {
  int64_t n, d, h;
  int count;
};

/// voxels[w][row] = the moved copy minus the volume at rest.
void find_differences(const Scratch& s, const Rows& rows, const View<const float>& x, const Source& source,
                      const PlaceTable& table, float fill) {
  Segment segment;
  for (int r = 0; r < rows.count; ++r) {
    const float* const rest = x.at(rows.n, rows.d, rows.h + r);
    float* const out = s.rows + r * s.stride;
    const auto row = table.row(rows.d * x.h + rows.h + r, 1);
    for (int64_t w = 0; w < x.w; w += segment_voxels) {
      const int64_t count = x.w - w < segment_voxels ? x.w - w : segment_voxels;
      find_corners(segment, table, row, w, count, source);
      blend_corners(segment, count, source, fill, [&](int64_t i, Vec value) {
        store(out + w + i, value - load_up_to(rest + w + i, count - i));
      });
    }
  }
  for (int64_t w = 0; w < s.stride; w += lanes) {
    Vec block[lanes];
    for (int r = 0; r < lanes; ++r) block[r] = r < rows.count ? load(s.rows + r * s.stride + w) : Vec{};
    transpose(block);
    for (int i = 0; i < lanes; ++i) store(s.voxels + (w + i) * lanes, block[i]);
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

/// voxels[w][row] = the sum of both halves.
void unfold(float* voxels, const float* even, const float* odd, const Halves& halves) {
  for (int64_t i = 0; i < halves.even; ++i) {
    const Vec e = load(even + i * lanes);
    if (i == 0 || i > halves.odd) {
      store(voxels + i * lanes, e);
    } else {
      const Vec o = load(odd + (i - 1) * lanes);
      store(voxels + i * lanes, e + o);
      store(voxels + (halves.width - i) * lanes, e - o);
    }
  }
}

/// y = x + voxels[w][row].
void add_to_rest(const View<float>& y, const View<const float>& x, const float* voxels, const Rows& rows) {
  for (int64_t w = 0; w < y.w; w += lanes) {
    Vec block[lanes];
    for (int i = 0; i < lanes; ++i) block[i] = load(voxels + (w + i) * lanes);
    transpose(block);
    for (int r = 0; r < lanes; ++r) {
      if (r >= rows.count) break;
      const Vec rest = load_up_to(x.at(rows.n, rows.d, rows.h + r) + w, y.w - w);
      store_up_to(y.at(rows.n, rows.d, rows.h + r) + w, rest + block[r], y.w - w);
    }
  }
}

}  // namespace

void filter_moved(View<float> y, View<const float> x, const MovedBand* bands, int64_t count,
                  const float* fill, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const Halves halves(y.w);
  const HalfFilters filters = half_filters(bands, count, halves, scope);
  const int64_t blocks = (y.h + lanes - 1) / lanes, items = y.d * blocks;
  const int64_t pieces = reduction_pieces(items, 8, most_pieces), floats = Scratch::floats(halves, count);
  float* const memory = scope.allocate<float>(static_cast<size_t>(pieces * floats));
  const View<float> pairs = allocate_pairs(x, scope);
  for (int64_t n = 0; n < y.n; ++n) {
    pack_pairs(pairs, x, n);
    parallel_for(pieces, 1, [&](int64_t piece) {
      const Scratch s(memory + piece * floats, halves, count);
      for (int64_t i = piece_begin(items, pieces, piece); i < piece_begin(items, pieces, piece + 1); ++i) {
        const int64_t h = i % blocks * lanes;
        const Rows rows{n, i / blocks, h, static_cast<int>(y.h - h < lanes ? y.h - h : lanes)};
        for (int r = 0; r < rows.count; ++r) prefetch_row(y.at(n, rows.d, h + r), y.w);
        for (int64_t k = 0; k < count; ++k) {
          const Places& places = bands[k].places;
          find_differences(s, rows, x, Source(pairs, places), PlaceTable(places, y, scope), fill[n]);
          fold(s.even + k * halves.even * lanes, s.odd + k * halves.odd * lanes, s.voxels, halves);
        }
        multiply(s.filtered_even, filters.even, s.even, halves.even, count * halves.even);
        multiply(s.filtered_odd, filters.odd, s.odd, halves.odd, count * halves.odd);
        unfold(s.voxels, s.filtered_even, s.filtered_odd, halves);
        add_to_rest(y, x, s.voxels, rows);
      }
    });
  }
}

}  // namespace vg::kernels::cpu::VG_ISA
