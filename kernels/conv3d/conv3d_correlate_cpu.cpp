// Correlation in gather form, for inputs that have zeros around them.
#include "kernels/common/parallel.h"
#include "kernels/conv3d/conv3d_passes_cpu.h"
#include "kernels/conv3d/conv3d_schedule_cpu.h"
#include "kernels/conv3d/conv3d_tile_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

template <class Products, int K, int Stride, Ahead Asks, int Rows, int Width, int Blocks = 1>
constexpr Tile tile() {
  if constexpr (Rows * Width * Blocks <= tile_vectors) {
    return {Rows, Width, Blocks, correlation_tile<Products, K, Stride, Rows, Width, Blocks, Asks>};
  } else {
    return {0, 0, Blocks, nullptr};
  }
}

// Wide rows take 1 x n; rows as short as the deep levels of a network have take several at a time. Any width
// is covered: the last tile of a row overlaps the one before it.
template <class P, int K, int Stride, Ahead A>
inline constexpr Tile tiles[] = {
    tile<P, K, Stride, A, 1, 20>(), tile<P, K, Stride, A, 1, 18>(), tile<P, K, Stride, A, 1, 16>(),
    tile<P, K, Stride, A, 1, 14>(), tile<P, K, Stride, A, 1, 12>(), tile<P, K, Stride, A, 1, 10>(),
    tile<P, K, Stride, A, 1, 9>(),  tile<P, K, Stride, A, 1, 8>(),  tile<P, K, Stride, A, 1, 7>(),
    tile<P, K, Stride, A, 1, 6>(),  tile<P, K, Stride, A, 1, 5>(),  tile<P, K, Stride, A, 1, 4>(),
    tile<P, K, Stride, A, 1, 3>(),  tile<P, K, Stride, A, 1, 2>(),  tile<P, K, Stride, A, 1, 1>(),
    tile<P, K, Stride, A, 2, 10>(), tile<P, K, Stride, A, 2, 8>(),  tile<P, K, Stride, A, 2, 7>(),
    tile<P, K, Stride, A, 2, 6>(),  tile<P, K, Stride, A, 2, 5>(),  tile<P, K, Stride, A, 2, 4>(),
    tile<P, K, Stride, A, 2, 3>(),  tile<P, K, Stride, A, 4, 5>(),  tile<P, K, Stride, A, 4, 4>(),
    tile<P, K, Stride, A, 4, 3>(),  tile<P, K, Stride, A, 4, 2>()};

// With a stride of 2 a tile reads two inputs for three FMAs of a vector; two blocks of channels share them.
template <class P, int K, Ahead A>
inline constexpr Tile paired_tiles[] = {
    tile<P, K, 2, A, 1, 10, 2>(), tile<P, K, 2, A, 1, 9, 2>(), tile<P, K, 2, A, 1, 8, 2>(),
    tile<P, K, 2, A, 1, 7, 2>(),  tile<P, K, 2, A, 1, 6, 2>(), tile<P, K, 2, A, 1, 5, 2>(),
    tile<P, K, 2, A, 1, 4, 2>(),  tile<P, K, 2, A, 1, 3, 2>(), tile<P, K, 2, A, 1, 2, 2>(),
    tile<P, K, 2, A, 1, 1, 2>(),  tile<P, K, 2, A, 2, 5, 2>(), tile<P, K, 2, A, 2, 4, 2>(),
    tile<P, K, 2, A, 2, 3, 2>(),  tile<P, K, 2, A, 2, 2, 2>()};

// Half cycles of a tile for one input channel: FMAs, or loads, or the latency of its dependent FMAs.
template <int K, int Stride>
int64_t tile_cost(const Tile& t) {
  constexpr int64_t fma_latency = 8;
  const int64_t products = int64_t{K} * t.rows * t.width * t.blocks,
                loads = K * t.blocks + t.rows * (Stride * (t.width - 1) + K);
  const int64_t busy = products > loads ? products : loads;
  return busy > K * fma_latency ? busy : K * fma_latency;
}

// The tile of at most `widest` columns that covers a plane at the least cost; at equal cost, with
// `prefer_larger`, the one that reads its weights less often. With `dividing`, only tiles whose rows divide
// the plane's.
template <int K, int Stride, size_t Count>
const Tile& choose_tile(const Tile (&tiles)[Count], int64_t height, int64_t width, int64_t widest,
                        bool prefer_larger, bool dividing) {
  const Tile* best = nullptr;
  int64_t best_cost = 0;
  for (const Tile& t : tiles) {
    if (t.run == nullptr || t.width > width || t.width > widest || t.rows > height) continue;
    if (dividing && height % t.rows != 0) continue;
    const int64_t count = ((width + t.width - 1) / t.width) * ((height + t.rows - 1) / t.rows);
    const int64_t cost = count * tile_cost<K, Stride>(t);
    const bool larger = best != nullptr && t.rows * t.width > best->rows * best->width;
    if (best == nullptr || cost < best_cost || (prefer_larger && larger && cost == best_cost))
      best = &t, best_cost = cost;
  }
  return *best;
}

template <size_t Count>
const Tile& single_row_tile(const Tile (&tiles)[Count], int width) {
  const Tile* result = tiles;
  while (result->rows != 1 || result->width != width) ++result;
  return *result;
}

// A tile, and one for the rows that are left.
struct Tiling {
  Tile tile, row_tile;
};

// One call: the operands, and a plan that depends on the shapes alone.
template <int K, int Stride>
struct Correlation {
  View<float> y;
  View<const float> x;
  PackedEpilogue epilogue;
  int padding;
  Tiling single, paired;  // of one block of output channels, and of as many as a tile takes at most
  int64_t block_floats;   // of the packed weights
  bool streamed;

  // Rows [h, h + t.rows) of plane d for the tile's blocks of output channels from `block` on.
  void run_rows(const Tile& t, BlockWeights& weights, int64_t n, int64_t d, int64_t h, int64_t block,
                bool prefetch) const {
    const int64_t first_d = d * Stride - padding, first_h = h * Stride - padding;
    RowTaps taps;
    for (int kd = 0; kd < K; ++kd) {
      if (first_d + kd < 0 || first_d + kd >= x.d) continue;
      for (int kh = 0; kh < K; ++kh) {
        if (t.rows == 1 && (first_h + kh < 0 || first_h + kh >= x.h)) continue;
        taps.add(kd * x.stride_d + kh * x.stride_h, kd * K + kh);
      }
    }
    TileArguments a{};
    a.x_stride_w = x.stride_w, a.x_stride_row = Stride * x.stride_h;
    a.x_stride_block = channel_block, a.channels = x.c;
    a.taps = &taps, a.weights = weights.of(block), a.weights_block = block_floats, a.all_taps = K * K;
    a.bias = epilogue.bias + block * lanes, a.activation = epilogue.kind;
    if (epilogue.slope != nullptr) a.slope = epilogue.slope + block * lanes;
    a.y_stride_w = y.stride_w, a.y_stride_row = y.stride_h;
    a.out_channels = y.c - block * lanes < lanes ? y.c - block * lanes : lanes;
    a.streamed = streamed;
    for (int64_t w = 0; w < y.w; w += t.width) {
      const int64_t first = w + t.width <= y.w ? w : y.w - t.width;
      a.x = x.at(n, first_d, first_h, first * Stride - padding);
      a.next_x = w + t.width < y.w ? a.x + Stride * t.width * x.stride_w : nullptr;
      a.y = y.at(n, d, h, first) + block * lanes;
      a.streams_ahead = 1, a.runs_ahead[0] = weights.ahead();
      if (prefetch) prefetch_next_plane(a, n, first_d + K, first_h + K - Stride, first * Stride, t);
      t.run(a);
    }
  }

  // The inputs that the next plane of outputs is the first to need: Stride rows of Stride planes for each row
  // of the tile, spread over its time. Of few channels, the first row alone is: the others are a few lines.
  void prefetch_next_plane(TileArguments& a, int64_t n, int64_t d, int64_t h, int64_t w,
                           const Tile& t) const {
    if (x.c > channel_block) {
      for (int plane = 0; plane < Stride; ++plane)
        a.runs_ahead[a.streams_ahead++] = rows_ahead(n, d + plane, h, w, Stride * t.rows, t);
      return;
    }
    for (int i = 1; i < Stride * Stride; ++i) {
      const LineRuns row = rows_ahead(n, d + i / Stride, h + i % Stride, w, 1, t);
      for (int64_t line = 0; line < row.count; ++line) __builtin_prefetch(row.data + line * row.step, 0, 2);
    }
    const LineRuns row = rows_ahead(n, d, h, w, 1, t);
    a.ahead = {row.data, row.step, row.count};
  }

  LineRuns rows_ahead(int64_t n, int64_t d, int64_t h, int64_t w, int64_t rows, const Tile& t) const {
    if (h < 0) rows += h, h = 0;
    if (h + rows > x.h) rows = x.h - h;
    if (d >= x.d || rows <= 0) return {};
    const int64_t voxels = Stride * t.width < x.w - w ? Stride * t.width : x.w - w;
    const bool whole = x.stride_w == x.c;
    const int64_t step = whole ? line_floats : x.stride_w, run = whole ? voxels * x.c / line_floats : voxels;
    return {x.at(n, d, h, w), step, run * rows, run, x.stride_h - run * step, run};
  }

  void run_item(const WorkItem& item, BlockWeights& weights) const {
    for (int64_t block = item.first_block; block < item.last_block;) {
      const bool pair =
          block + paired.tile.blocks <= item.last_block && y.c >= (block + paired.tile.blocks) * lanes;
      const Tiling& tiling = pair ? paired : single;
      const bool first = block == item.first_block;
      int64_t h = item.first_row;
      for (; h + tiling.tile.rows <= item.last_row; h += tiling.tile.rows)
        run_rows(tiling.tile, weights, item.n, item.d, h, block, first);
      for (; h < item.last_row; ++h) run_rows(tiling.row_tile, weights, item.n, item.d, h, block, false);
      block += tiling.tile.blocks;
    }
    if (streamed) finish_streaming();
  }

  void run(const Weights& weights, WorkspaceScope& scope) const {
    const Tile &one = single.tile, &two = paired.tile;
    const Schedule schedule(y, x, weights, one.rows > two.rows ? one.rows : two.rows, Stride);
    const int64_t plane_tiles = ((y.h + two.rows - 1) / two.rows) * ((y.w + two.width - 1) / two.width);
    schedule.run(weights, y.n * y.d * plane_tiles / two.blocks, scope,
                 [&](const WorkItem& item, BlockWeights& packed) { run_item(item, packed); });
  }
};

template <class Products, int K, int Stride>
void run_correlation(View<float> y, View<const float> x, const Weights& weights, const Epilogue& epilogue,
                     int padding, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  // Few channels and a stride make a first level bound by memory as much as by FMAs: a tile of half the size
  // leaves room in the level-1 cache for the four rows ahead. The weights of more than a block of channels
  // come from the level-2 cache: a large tile needs fewer of them.
  const bool few_channels = x.c <= channel_block;
  const auto tiling = [&](const auto& from) {
    const Tile& tile = choose_tile<K, Stride>(from, y.h, y.w, Stride == 2 && few_channels ? 10 : y.w,
                                              /*prefer_larger=*/!few_channels, /*dividing=*/false);
    return Tiling{tile, single_row_tile(from, tile.width)};
  };
  const Tiling single = tiling(tiles<Products, K, Stride, Ahead::lines>);
  Tiling paired = single;
  if constexpr (Stride == 2) paired = tiling(paired_tiles<Products, K, Ahead::lines>);
  const Correlation<K, Stride> correlation{
      y,
      weights.bfloat16 ? bfloat16_pairs(x, padding, scope) : with_halo(x, padding, scope),
      pack_epilogue(epilogue, y.c, scope),
      padding,
      single,
      paired,
      weights.block_floats(),
      streams(y)};
  correlation.run(weights, scope);
}

}  // namespace

template <class Products>
const Tile& dividing_tile(int64_t height, int64_t width) {
  return choose_tile<3, 1>(tiles<Products, 3, 1, Ahead::nothing>, height, width, width,
                           /*prefer_larger=*/true,
                           /*dividing=*/true);
}
template const Tile& dividing_tile<FloatProducts>(int64_t, int64_t);
template const Tile& dividing_tile<Bfloat16Products>(int64_t, int64_t);

void correlate(View<float> y, View<const float> x, const Weights& weights, const Epilogue& epilogue,
               int stride, int padding, const Exec& exec) {
  if (weights.bfloat16 && stride == 1)
    return run_correlation<Bfloat16Products, 3, 1>(y, x, weights, epilogue, padding, exec);
  if (weights.bfloat16)
    return run_correlation<Bfloat16Products, 3, 2>(y, x, weights, epilogue, padding, exec);
  if (weights.kernel_size == 1)
    return run_correlation<FloatProducts, 1, 1>(y, x, weights, epilogue, padding, exec);
  if (weights.kernel_size == 2)
    return run_correlation<FloatProducts, 2, 2>(y, x, weights, epilogue, padding, exec);
  if (stride == 1) return run_correlation<FloatProducts, 3, 1>(y, x, weights, epilogue, padding, exec);
  run_correlation<FloatProducts, 3, 2>(y, x, weights, epilogue, padding, exec);
}

}  // namespace vg::kernels::cpu::VG_ISA
