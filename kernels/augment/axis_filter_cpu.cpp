// A small matrix product. A tile of outputs (rows x vectors) stays in registers through its sum; the factor
// that is read as vectors lies in a panel that fits into the L1 cache and is used for many rows of the other.
// Along D and H vectors run along W of x, along W they run along the outputs of the matrix.
#include "kernels/augment/axis_filter_impl.h"
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// Accumulators, the panel's vectors and a broadcast fit into 32 (AVX-512) or 16 registers.
constexpr int tile_rows = lanes == 16 ? 8 : 4;
constexpr int64_t most_vectors = 3;
// Rows of a panel: with `most_vectors` vectors each they take 24 KiB of an L1 cache.
constexpr int64_t panel_rows = 128;
// Rows of volumes that a thread takes at a time along W.
constexpr int64_t rows_a_piece = 64;

struct Range {
  int64_t begin, end;
};

VG_INLINE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// The inputs that outputs [first, first + count) need: where the matrix has other elements than zeros.
Range inputs_of(const float* matrix, int64_t length, int64_t first, int64_t count) {
  Range range{length, 0};
  for (int64_t i = first; i < smaller(first + count, length); ++i) {
    for (int64_t j = 0; j < length; ++j) {
      if (matrix[i * length + j] == 0) continue;
      if (j < range.begin) range.begin = j;
      if (j >= range.end) range.end = j + 1;
    }
  }
  return range.begin < range.end ? range : Range{0, 0};
}

// The columns of a product cut into tiles of one to three vectors, as even as can be.
struct ColumnTiles {
  int64_t columns, vectors, count;
  explicit ColumnTiles(int64_t all_columns)
      : columns(all_columns),
        vectors((columns + lanes - 1) / lanes),
        count((vectors + most_vectors - 1) / most_vectors) {}
  int64_t begin(int64_t tile) const { return piece_begin(vectors, count, tile) * lanes; }
  int64_t vectors_of(int64_t tile) const { return (begin(tile + 1) - begin(tile)) / lanes; }
  int64_t columns_of(int64_t tile) const { return smaller(columns, begin(tile + 1)) - begin(tile); }
};

// One tile of y, rows * columns of it: y (+)= sum over k of a[r][k] * panel[k][.].
struct Tile {
  float* y[tile_rows];
  const float* a[tile_rows];  // beyond `rows`: any row, computed in vain
  int rows;
  int64_t columns;
  bool accumulate;
};

template <int Vectors>
void multiply(const Tile& tile, const float* panel, int64_t depth) {
  Vec sum[tile_rows][Vectors] = {};
  const float* a[tile_rows];
#pragma GCC unroll 8
  for (int r = 0; r < tile_rows; ++r) a[r] = tile.a[r];
  for (int64_t k = 0; k < depth; ++k, panel += Vectors * lanes) {
    Vec b[Vectors];
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) b[v] = load(panel + v * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < tile_rows; ++r) {
      const Vec factor = broadcast(a[r][k]);
#pragma GCC unroll 3
      for (int v = 0; v < Vectors; ++v) sum[r][v] += factor * b[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < tile_rows; ++r) {
    if (r >= tile.rows) break;
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) {
      float* const out = tile.y[r] + v * lanes;
      const int64_t left = tile.columns - v * lanes;
      if (left >= lanes) {
        store(out, tile.accumulate ? load(out) + sum[r][v] : sum[r][v]);
      } else {
        store_partial(out, tile.accumulate ? load_partial(out, left) + sum[r][v] : sum[r][v], left);
      }
    }
  }
}

VG_INLINE void multiply(const Tile& tile, int64_t vectors, const float* panel, int64_t depth) {
  switch (vectors) {
    case 1:
      return multiply<1>(tile, panel, depth);
    case 2:
      return multiply<2>(tile, panel, depth);
    default:
      return multiply<3>(tile, panel, depth);
  }
}

// Calls body(first, rows) for each block of a tile's rows within [begin, end).
template <class Body>
VG_INLINE void for_each_row_block(int64_t begin, int64_t end, const Body& body) {
  for (int64_t first = begin; first < end; first += tile_rows)
    body(first, static_cast<int>(smaller(tile_rows, end - first)));
}

// y[i][.] (+)= sum over j of matrix[i][j] x[j][.] for the columns of one tile; `inputs` are those of each
// block of rows. x is copied into panels: its rows may lie a power of two apart, and would then drive each
// other out of the cache.
struct Plane {
  float* y;
  const float* x;
  int64_t y_stride, x_stride;
};
void filter_plane(const Plane& plane, const float* matrix, int64_t length, const Range* inputs,
                  int64_t vectors, int64_t columns, bool accumulate) {
  alignas(64) float panel[panel_rows * most_vectors * lanes];
  for (int64_t begin = 0; begin < length; begin += panel_rows) {
    const int64_t end = smaller(length, begin + panel_rows);
    for (int64_t j = begin; j < end; ++j) {
      for (int64_t v = 0; v < vectors; ++v) {
        const float* const from = plane.x + j * plane.x_stride + v * lanes;
        const int64_t left = columns - v * lanes;
        store(panel + ((j - begin) * vectors + v) * lanes,
              left >= lanes ? load(from) : load_partial(from, left));
      }
    }
    for_each_row_block(0, length, [&](int64_t first, int rows) {
      const Range need = inputs[first / tile_rows];
      const int64_t from = need.begin > begin ? need.begin : begin, to = smaller(need.end, end);
      Tile tile;
      tile.rows = rows, tile.columns = columns, tile.accumulate = accumulate || begin > 0;
      for (int r = 0; r < tile_rows; ++r) {
        const int64_t i = smaller(first + r, length - 1);
        tile.y[r] = plane.y + i * plane.y_stride, tile.a[r] = matrix + i * length + from;
      }
      multiply(tile, vectors, panel + (from - begin) * vectors * lanes, to - from);
    });
  }
}

void filter_planes(const View<float>& y, const View<const float>& x, const float* matrix, int axis,
                   bool accumulate, const Exec& exec) {
  const int64_t length = axis == 0 ? x.d : x.h, others = axis == 0 ? x.h : x.d;
  const int64_t blocks = (length + tile_rows - 1) / tile_rows;
  WorkspaceScope scope(*exec.workspace);
  auto* const inputs = scope.allocate<Range>(static_cast<size_t>(blocks));
  for (int64_t b = 0; b < blocks; ++b) inputs[b] = inputs_of(matrix, length, b * tile_rows, tile_rows);
  const ColumnTiles tiles(x.w);
  parallel_for(x.n * others * tiles.count, 4, [&](int64_t item) {
    const int64_t t = item % tiles.count, other = item / tiles.count % others,
                  n = item / tiles.count / others, w = tiles.begin(t);
    const int64_t d = axis == 0 ? 0 : other, h = axis == 0 ? other : 0;
    const Plane plane{y.at(n, d, h, w), x.at(n, d, h, w), axis == 0 ? y.stride_d : y.stride_h,
                      axis == 0 ? x.stride_d : x.stride_h};
    filter_plane(plane, matrix, length, inputs, tiles.vectors_of(t), tiles.columns_of(t), accumulate);
  });
}

// The matrix is turned into panels [input][outputs of a tile], which serve all rows of the volumes.
void filter_rows(const View<float>& y, const View<const float>& x, const float* matrix, bool accumulate,
                 const Exec& exec) {
  const int64_t length = x.w;
  const ColumnTiles tiles(length);
  WorkspaceScope scope(*exec.workspace);
  float* const panels = scope.allocate<float>(static_cast<size_t>(length * tiles.vectors * lanes));
  auto* const inputs = scope.allocate<Range>(static_cast<size_t>(tiles.count));
  for (int64_t t = 0; t < tiles.count; ++t) {
    const int64_t first = tiles.begin(t), width = tiles.vectors_of(t) * lanes;
    inputs[t] = inputs_of(matrix, length, first, width);
    for (int64_t j = 0; j < length; ++j) {
      for (int64_t i = 0; i < width; ++i)
        panels[first * length + j * width + i] = first + i < length ? matrix[(first + i) * length + j] : 0;
    }
  }
  parallel_for((x.rows() + rows_a_piece - 1) / rows_a_piece, 1, [&](int64_t piece) {
    const int64_t begin = piece * rows_a_piece, end = smaller(x.rows(), begin + rows_a_piece);
    for (int64_t t = 0; t < tiles.count; ++t) {
      const Range need = inputs[t];
      const int64_t first = tiles.begin(t), vectors = tiles.vectors_of(t);
      for_each_row_block(begin, end, [&](int64_t first_row, int rows) {
        Tile tile;
        tile.rows = rows, tile.columns = tiles.columns_of(t), tile.accumulate = accumulate;
        for (int r = 0; r < tile_rows; ++r) {
          const int64_t row = smaller(first_row + r, end - 1);
          tile.y[r] = y.row(row) + first, tile.a[r] = x.row(row) + need.begin;
        }
        multiply(tile, vectors, panels + first * length + need.begin * vectors * lanes,
                 need.end - need.begin);
      });
    }
  });
}

}  // namespace

void axis_filter(View<float> y, View<const float> x, const float* matrix, int axis, bool accumulate,
                 const Exec& exec) {
  if (axis == 2) {
    filter_rows(y, x, matrix, accumulate, exec);
  } else {
    filter_planes(y, x, matrix, axis, accumulate, exec);
  }
}

}  // namespace vg::kernels::cpu::VG_ISA
