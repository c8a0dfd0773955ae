// The transpose of a correlation with stride 2, in gather form: every output collects the inputs that reach
// it.
#include "kernels/conv3d/conv3d_passes_cpu.h"
#include "kernels/conv3d/conv3d_schedule_cpu.h"
#include "kernels/conv3d/conv3d_tile_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

struct Tile {
  int rows, width;  // of inputs
  void (*run)(const TileArguments&, const TransposedRange&);
};

template <class Products, int K, int Rows, int Width>
constexpr Tile tile() {
  if constexpr (2 * Rows * Width <= tile_vectors) {
    return {Rows, Width, transposed_tile<Products, K, Rows, Width>};
  } else {
    return {0, 0, nullptr};
  }
}

template <class P, int K>
inline constexpr Tile tiles[] = {
    tile<P, K, 1, 10>(), tile<P, K, 1, 9>(), tile<P, K, 1, 8>(), tile<P, K, 1, 7>(), tile<P, K, 1, 6>(),
    tile<P, K, 1, 5>(),  tile<P, K, 1, 4>(), tile<P, K, 1, 3>(), tile<P, K, 1, 2>(), tile<P, K, 1, 1>(),
    tile<P, K, 2, 5>(),  tile<P, K, 2, 4>(), tile<P, K, 2, 3>(), tile<P, K, 2, 2>()};

// The tile that covers `height` x `width` inputs in the fewest FMAs, the widest of those.
template <class Products, int K>
const Tile& choose_tile(int64_t height, int64_t width) {
  const Tile* best = nullptr;
  int64_t best_cost = 0;
  for (const Tile& t : tiles<Products, K>) {
    if (t.run == nullptr || t.width > width || t.rows > height) continue;
    const int64_t sums = t.rows * t.width, busy = sums > 5 ? sums : 5;  // fewer wait for their FMAs' latency
    const int64_t count = (width + t.width - 1) / t.width * ((height + t.rows - 1) / t.rows);
    const int64_t cost = count * (busy + 1);
    if (best == nullptr || cost < best_cost) best = &t, best_cost = cost;
  }
  return *best;
}

template <class Products, int K>
const Tile& single_row_tile(int width) {
  const Tile* result = tiles<Products, K>;
  while (result->rows != 1 || result->width != width) ++result;
  return *result;
}

// One axis. Output z counts as u = z + shift, so that pair j = u / 2 holds the outputs that take tap 1 of
// input j - shift (even) and taps 2 and 0 of inputs j - shift and j - shift + 1 (odd) of a kernel of 3, or
// taps 0 and 1 of input j of a kernel of 2.
struct AxisTaps {
  int count = 0;
  int64_t input[2];
  int tap[2];
  // Unless none of `rows` inputs from `index` on exists.
  void add(int64_t index, int tap_index, int64_t rows, int64_t extent) {
    if (index + rows <= 0 || index >= extent) return;
    input[count] = index;
    tap[count++] = tap_index;
  }
};

template <int K>
AxisTaps axis_taps(int64_t output, int64_t rows, int64_t shift, int64_t extent) {
  AxisTaps taps;
  const int64_t u = output + shift, input = u / 2 - shift;
  if constexpr (K == 2) {
    taps.add(input, static_cast<int>(u % 2), rows, extent);
  } else if (u % 2 == 0) {
    taps.add(input, 1, rows, extent);
  } else {
    taps.add(input, 2, rows, extent);
    taps.add(input + 1, 0, rows, extent);
  }
  return taps;
}

// One call: the operands, and a plan that depends on the shapes alone.
template <int K>
struct Transposed {
  View<float> y;
  View<const float> x;  // with zeros around it
  PackedEpilogue epilogue;
  int64_t shift, pairs;
  const Tile &tile, &row_tile;
  bool add, streamed;

  // Rows h, h + 2 .. of plane d, as many as t has, for one block of output channels.
  void run_rows(const Tile& t, BlockWeights& weights, int64_t n, int64_t d, int64_t h, int64_t block) const {
    const AxisTaps depth = axis_taps<K>(d, 1, shift, x.d);
    const AxisTaps height = axis_taps<K>(h, t.rows, shift, x.h);
    RowTaps taps;
    for (int i = 0; i < depth.count; ++i) {
      for (int j = 0; j < height.count; ++j) {
        taps.add(depth.input[i] * x.stride_d + height.input[j] * x.stride_h,
                 depth.tap[i] * K + height.tap[j]);
      }
    }
    TileArguments a{};
    a.x_stride_w = x.stride_w, a.x_stride_row = x.stride_h;
    a.x_stride_block = channel_block, a.channels = x.c;
    a.taps = &taps, a.weights = weights.of(block), a.all_taps = K * K;
    a.bias = epilogue.bias + block * lanes, a.activation = epilogue.kind;
    if (epilogue.slope != nullptr) a.slope = epilogue.slope + block * lanes;
    a.y_stride_w = y.stride_w, a.y_stride_row = 2 * y.stride_h;
    a.out_channels = y.c - block * lanes < lanes ? y.c - block * lanes : lanes;
    a.streamed = streamed, a.add = add;
    for (int64_t pair = 0; pair < pairs; pair += t.width) {
      const int64_t first = pair + t.width <= pairs ? pair : pairs - t.width;
      const int64_t output = 2 * first - shift;
      a.x = x.at(n, 0, 0, first - shift);
      a.next_x = pair + t.width < pairs ? a.x + t.width * x.stride_w : nullptr;
      a.y = y.at(n, d, h, output) + block * lanes;
      const int64_t left = y.w - output;
      a.streams_ahead = 1, a.runs_ahead[0] = weights.ahead();
      // The last tile overlaps the one before it, to which nothing may be added twice.
      const int64_t done = add ? 2 * (pair - first) : 0, outside = output < 0 ? -output : 0;
      t.run(a, {done > outside ? done : outside, left < 2 * t.width ? left : 2 * t.width});
    }
  }

  void run_item(const WorkItem& item, BlockWeights& weights) const {
    for (int64_t block = item.first_block; block < item.last_block; ++block) {
      int64_t h = item.first_row;
      for (; h + 2 * tile.rows <= item.last_row; h += 2 * tile.rows) {
        run_rows(tile, weights, item.n, item.d, h, block);
        run_rows(tile, weights, item.n, item.d, h + 1, block);
      }
      for (; h < item.last_row; ++h) run_rows(row_tile, weights, item.n, item.d, h, block);
    }
    if (streamed) finish_streaming();
  }

  void run(const Weights& weights, WorkspaceScope& scope) const {
    const Schedule schedule(y, x, weights, 2 * tile.rows, 1);
    const int64_t block_tiles =
        y.n * y.d * ((y.h + tile.rows - 1) / tile.rows) * ((pairs + tile.width - 1) / tile.width);
    schedule.run(weights, block_tiles, scope,
                 [&](const WorkItem& item, BlockWeights& packed) { run_item(item, packed); });
  }
};

template <class Products, int K>
void run_transposed(View<float> y, View<const float> x, const Weights& weights, const Epilogue& epilogue,
                    int padding, bool add, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const int64_t shift = K == 3 ? 1 - padding : 0, pairs = (y.w - 1 + shift) / 2 + 1;
  const int padded_by = K == 3 ? 1 + static_cast<int>(shift) : 0;
  const Tile& tile = choose_tile<Products, K>((y.h + 1) / 2, pairs);
  const Transposed<K> transposed{
      y,
      weights.bfloat16 ? bfloat16_pairs(x, padded_by, scope) : with_halo(x, padded_by, scope),
      pack_epilogue(epilogue, y.c, scope),
      shift,
      pairs,
      tile,
      single_row_tile<Products, K>(tile.width),
      add,
      !add && streams(y)};
  transposed.run(weights, scope);
}

}  // namespace

void correlate_transposed(View<float> y, View<const float> x, const Weights& weights,
                          const Epilogue& epilogue, int padding, const Exec& exec, bool add) {
  if (weights.kernel_size == 2)
    return run_transposed<FloatProducts, 2>(y, x, weights, epilogue, padding, add, exec);
  if (weights.bfloat16)
    return run_transposed<Bfloat16Products, 3>(y, x, weights, epilogue, padding, add, exec);
  run_transposed<FloatProducts, 3>(y, x, weights, epilogue, padding, add, exec);
}

}  // namespace vg::kernels::cpu::VG_ISA
