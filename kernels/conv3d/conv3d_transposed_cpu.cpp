// The transpose of a correlation with stride 2, in gather form: every output collects the inputs that reach
// it.
#include "kernels/conv3d/conv3d_passes_cpu.h"
#include "kernels/conv3d/conv3d_schedule_cpu.h"
#include "kernels/conv3d/conv3d_tile_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

struct Tile {
  int width;  // inputs
  void (*run)(const TileArguments&, const TransposedRange&);
};

template <class Products, int K, int Width>
constexpr Tile tile() {
  if constexpr (2 * Width <= tile_vectors) {
    return {Width, transposed_tile<Products, K, Width>};
  } else {
    return {0, nullptr};
  }
}

template <class P, int K>
inline constexpr Tile tiles[] = {tile<P, K, 10>(), tile<P, K, 9>(), tile<P, K, 8>(), tile<P, K, 7>(),
                                 tile<P, K, 6>(),  tile<P, K, 5>(), tile<P, K, 4>(), tile<P, K, 3>(),
                                 tile<P, K, 2>(),  tile<P, K, 1>()};

// The tile that covers `width` inputs in the fewest FMAs, the widest of those.
template <class Products, int K>
const Tile& choose_tile(int64_t width) {
  const Tile* best = nullptr;
  int64_t best_cost = 0;
  for (const Tile& t : tiles<Products, K>) {
    if (t.run == nullptr || t.width > width) continue;
    const int64_t busy = t.width > 4 ? t.width : 4;  // fewer sums wait for the latency of their FMAs
    const int64_t cost = (width + t.width - 1) / t.width * (busy + 1);
    if (best == nullptr || cost < best_cost) best = &t, best_cost = cost;
  }
  return *best;
}

// One axis. Output z counts as u = z + shift, so that pair j = u / 2 holds the outputs that take tap 1 of
// input j - shift (even) and taps 2 and 0 of inputs j - shift and j - shift + 1 (odd) of a kernel of 3, or
// taps 0 and 1 of input j of a kernel of 2.
struct AxisTaps {
  int count = 0;
  int64_t input[2];
  int tap[2];
  void add(int64_t index, int tap_index, int64_t extent) {
    if (index < 0 || index >= extent) return;
    input[count] = index;
    tap[count++] = tap_index;
  }
};

template <int K>
AxisTaps axis_taps(int64_t output, int64_t shift, int64_t extent) {
  AxisTaps taps;
  const int64_t u = output + shift, input = u / 2 - shift;
  if constexpr (K == 2) {
    taps.add(input, static_cast<int>(u % 2), extent);
  } else if (u % 2 == 0) {
    taps.add(input, 1, extent);
  } else {
    taps.add(input, 2, extent);
    taps.add(input + 1, 0, extent);
  }
  return taps;
}

template <class Products, int K>
void run_transposed(View<float> y, View<const float> x, const Weights& weights, const Epilogue& epilogue,
                    int padding, bool add, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const int64_t shift = K == 3 ? 1 - padding : 0, pairs = (y.w - 1 + shift) / 2 + 1;
  const int padded_by = K == 3 ? 1 + static_cast<int>(shift) : 0;
  const View<const float> padded =
      weights.bfloat16 ? bfloat16_pairs(x, padded_by, scope) : with_halo(x, padded_by, scope);
  const PackedEpilogue packed_epilogue = pack_epilogue(epilogue, y.c, scope);
  const Tile& tile = choose_tile<Products, K>(pairs);
  const Schedule schedule(y, x, weights, 2, 1);
  const bool streamed = !add && streams(y);
  const int64_t block_tiles = y.n * y.d * y.h * ((pairs + tile.width - 1) / tile.width);
  schedule.run(weights, block_tiles, scope, [&](const WorkItem& item, BlockWeights& packed) {
    const AxisTaps depth = axis_taps<K>(item.d, shift, x.d);
    for (int64_t block = item.first_block; block < item.last_block; ++block) {
      for (int64_t h = item.first_row; h < item.last_row; ++h) {
        const AxisTaps height = axis_taps<K>(h, shift, x.h);
        RowTaps taps;
        for (int i = 0; i < depth.count; ++i) {
          for (int j = 0; j < height.count; ++j) {
            taps.add(depth.input[i] * padded.stride_d + height.input[j] * padded.stride_h,
                     depth.tap[i] * K + height.tap[j]);
          }
        }
        TileArguments a{};
        a.x_stride_w = padded.stride_w, a.x_stride_block = channel_block, a.channels = padded.c;
        a.taps = &taps, a.weights = packed.of(block), a.all_taps = K * K;
        a.bias = packed_epilogue.bias + block * lanes, a.activation = packed_epilogue.kind;
        if (packed_epilogue.slope != nullptr) a.slope = packed_epilogue.slope + block * lanes;
        a.y_stride_w = y.stride_w;
        a.out_channels = y.c - block * lanes < lanes ? y.c - block * lanes : lanes;
        a.streamed = streamed, a.add = add;
        for (int64_t pair = 0; pair < pairs; pair += tile.width) {
          const int64_t first = pair + tile.width <= pairs ? pair : pairs - tile.width;
          const int64_t output = 2 * first - shift;
          a.x = padded.at(item.n, 0, 0, first - shift);
          a.y = y.at(item.n, item.d, h, output) + block * lanes;
          const int64_t left = y.w - output;
          a.streams_ahead = 1, a.runs_ahead[0] = packed.ahead();
          // The last tile overlaps the one before it, to which nothing may be added twice.
          const int64_t done = add ? 2 * (pair - first) : 0, outside = output < 0 ? -output : 0;
          tile.run(a, {done > outside ? done : outside, left < 2 * tile.width ? left : 2 * tile.width});
        }
      }
    }
    if (streamed) finish_streaming();
  });
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
