// The innermost loops of the CPU's convolutions: a tile of outputs stays in registers through the whole sum.
// For *_cpu.cpp.
//
// A tile is `rows` x `width` output voxels times one vector of output channels. For each input channel the
// weights of the taps along W are loaded once, and each input of the row is broadcast once and used for every
// output that it reaches: a 1 x 20 tile of a 3x3x3 convolution needs 22 broadcasts and 3 loads for its 60
// FMAs, so that two FMAs a cycle are not held up by two loads a cycle.
#pragma once

#include "kernels/activation/activation_vectors.h"
#include "kernels/common/channel_blocks.h"
#include "kernels/common/simd.h"
#include "kernels/common/stream.h"
#include "kernels/conv3d/conv3d_pack_cpu.h"
#include "kernels/conv3d/conv3d_prefetch_cpu.h"
#include "kernels/conv3d/conv3d_products_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

/// Accumulators of a tile: with the weights of three taps and a broadcast they fit into 32 (AVX-512) or 16
/// registers.
inline constexpr int tile_vectors = lanes == 16 ? 20 : 10;

/// The taps along D and H of which a tile takes part: offsets of their rows in the input, and numbers
/// kd * k + kh.
struct RowTaps {
  int count = 0;
  int64_t offset[9];
  int64_t number[9];
  VG_INLINE void add(int64_t row_offset, int64_t tap_number) {
    offset[count] = row_offset;
    number[count++] = tap_number;
  }
};

struct TileArguments {
  const float* x;                                    ///< first input of the tile, at tap offset 0
  const float* next_x;                               ///< that of the next tile, or null
  int64_t x_stride_w, x_stride_row, x_stride_block;  ///< block: the next `channel_block` channels
  int64_t channels;                                  ///< of the input
  const RowTaps* taps;
  const float* weights;   ///< of the first block of output channels, see pack_weights
  int64_t weights_block;  ///< floats from there to those of the next block, if the tile has one
  int64_t all_taps;       ///< k * k: rows of taps in `weights`
  const float* bias;      ///< `lanes` floats a block
  ActivationKind activation;
  const float* slope;  ///< `lanes` floats a block, or null if the activation needs none
  float* y;
  int64_t y_stride_w, y_stride_row;
  int64_t out_channels;  ///< of a tile of one block, at most `lanes`; of more all are whole
  Lines ahead;
  int streams_ahead;
  LineRuns runs_ahead[3];  ///< of which there are `streams_ahead`
  bool streamed;           ///< outputs go past the caches, see streams(); finish_streaming() is the caller's
  bool add;                ///< to what is in y; transposed tiles alone
};

/// A tile of the correlation: `rows` x `width` outputs of `blocks` blocks of channels.
struct Tile {
  int rows, width, blocks;
  void (*run)(const TileArguments&);
};
/// The tile that covers a plane of outputs of a kernel of 3 with stride 1 at the least cost, with rows that
/// divide the plane's. It asks for no lines ahead. Defined beside correlate(), for both kinds of products.
template <class Products>
const Tile& dividing_tile(int64_t height, int64_t width);

/// Calls body(store) with the function store(p, sum) that a tile's outputs need.
template <class Body>
VG_INLINE void with_store(const TileArguments& a, const Body& body) {
  if (a.streamed) {
    body([](float* p, Vec v) __attribute__((always_inline)) { stream(p, v); });
  } else if (a.out_channels >= lanes) {
    body([](float* p, Vec v) __attribute__((always_inline)) { store(p, v); });
  } else {
    body([count = a.out_channels](float* p, Vec v)
             __attribute__((always_inline)) { store_partial(p, v, count); });
  }
}

/// Calls body(block) with the block of `channels` channels.
template <class Body>
VG_INLINE void with_block(int64_t channels, const Body& body) {
  if (channels == lanes) {
    body(FullBlock{});
  } else {
    body(PartialBlock{channels});
  }
}

/// Replaces the sums of a tile by their activation. Of several blocks RowsOfBlock rows each, one after the
/// other. (Loops over parts of `sum` would make the compiler keep it in memory.)
template <int RowsOfBlock, int Rows, int Width>
VG_INLINE void activate(Vec (&sum)[Rows][Width], const TileArguments& a) {
  if (a.activation == ActivationKind::identity) return;
  with_activation(a.activation, [&](auto act) {
#pragma GCC unroll 32
    for (int r = 0; r < Rows; ++r) {
      const Vec slope = a.slope != nullptr ? load(a.slope + r / RowsOfBlock * lanes) : Vec{};
#pragma GCC unroll 32
      for (int j = 0; j < Width; ++j) sum[r][j] = act.value(sum[r][j], slope);
    }
  });
}

/// Asks for the lines that a tile will write: stores leave in order, and one whose line has to come from
/// memory holds up those of the next tiles until the core has no room for them.
template <int Rows, int Width>
VG_INLINE void ask_for_outputs(const TileArguments& a, int64_t block = 0) {
  if (a.streamed) return;
#pragma GCC unroll 1
  for (int64_t r = 0; r < Rows; ++r) {
    const float* p = a.y + block * lanes + r * a.y_stride_row;
#pragma GCC unroll 1
    for (int64_t j = 0; j < Width; ++j, p += a.y_stride_w) __builtin_prefetch(p, 1);
  }
}

/// Asks for the first channels of Rows rows of Inputs voxels.
template <int Rows, int Inputs>
VG_INLINE void ask_for_inputs(const float* x, const TileArguments& a) {
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
    const float* p = x + r * a.x_stride_row;
#pragma GCC unroll 64
    for (int j = 0; j < Inputs; ++j, p += a.x_stride_w) __builtin_prefetch(p);
  }
}

/// Whether a tile asks for the lines that it will write and for the inputs of its next row of taps, all of
/// which are new at its first channel: more than a core finds in the level-2 cache in the time of its FMAs.
/// Not worth it where tiles are short and their operands lie one after the other.
enum class Ahead : uint8_t { nothing, lines };

/// Calls body(x, weights, channels) for each block of input channels and each row of taps, which reads Inputs
/// voxels of Rows rows of the input.
template <int K, int Rows, int Inputs, Ahead Asks, class Body>
VG_INLINE void for_each_row_of_taps(const TileArguments& a, const Body& body) {
  const int64_t calls = a.taps->count * ((a.channels + channel_block - 1) / channel_block);
  const int64_t lines = calls == 0 ? 0 : (a.ahead.count + calls - 1) / calls;
  const float* ahead = a.ahead.data;
  LineRuns runs[3];
  for (int i = 0; i < a.streams_ahead; ++i) runs[i] = a.runs_ahead[i];
  for (int64_t first = 0; first < a.channels; first += channel_block) {
    const int64_t left = a.channels - first, channels = left < channel_block ? left : channel_block;
    const float* const weights = a.weights + first * a.all_taps * K * lanes;
    const float* const x = a.x + first / channel_block * a.x_stride_block;
    for (int t = 0; t < a.taps->count; ++t) {
      for (int64_t i = 0; i < lines; ++i, ahead += a.ahead.step) __builtin_prefetch(ahead);
      for (int i = 0; i < a.streams_ahead; ++i) runs[i].ask((a.runs_ahead[i].count + calls - 1) / calls);
      if constexpr (Asks == Ahead::lines) {
        const bool last_row = t + 1 == a.taps->count, last = last_row && first + channel_block >= a.channels;
        const float* const next = last ? a.next_x : last_row ? x + a.x_stride_block : x;
        const bool apart = a.x_stride_w >= line_floats;  // voxels do not share lines
        if (apart && next != nullptr)
          ask_for_inputs<Rows, Inputs>(next + a.taps->offset[last_row ? 0 : t + 1], a);
      }
      body(x + a.taps->offset[t], weights + a.taps->number[t] * channels * K * lanes, channels);
    }
  }
}

/// y = activation(bias + the sum over taps and channels of x at output * Stride + tap).
template <class Products, int K, int Stride, int Rows, int Width, int Blocks, Ahead Asks>
__attribute__((noinline)) void correlation_tile(const TileArguments& a) {
  constexpr int inputs = Stride * (Width - 1) + K;
  Vec sum[Blocks * Rows][Width];
#pragma GCC unroll 2
  for (int b = 0; b < Blocks; ++b) {
    const Vec bias = load(a.bias + b * lanes);
#pragma GCC unroll 32
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 32
      for (int j = 0; j < Width; ++j) sum[b * Rows + r][j] = bias;
    }
    if constexpr (Asks == Ahead::lines) ask_for_outputs<Rows, Width>(a, b);
  }
  for_each_row_of_taps<K, Rows, inputs, Asks>(a, [&](const float* x, const float* weights, int64_t channels) {
#pragma GCC unroll 1
    for (int64_t c = 0; c < channels; ++c, ++x, weights += K * lanes) {
      Vec w[Blocks][K];
#pragma GCC unroll 2
      for (int b = 0; b < Blocks; ++b) {
#pragma GCC unroll 3
        for (int k = 0; k < K; ++k) w[b][k] = load(weights + b * a.weights_block + k * lanes);
      }
#pragma GCC unroll 32
      for (int r = 0; r < Rows; ++r) {
        const float* p = x + r * a.x_stride_row;
#pragma GCC unroll 64
        for (int j = 0; j < inputs; ++j, p += a.x_stride_w) {
          const Vec v = broadcast(*p);
#pragma GCC unroll 2
          for (int b = 0; b < Blocks; ++b) {
#pragma GCC unroll 3
            for (int k = K - 1; k >= 0; --k) {
              const int shifted = j - k;
              if (shifted >= 0 && shifted % Stride == 0 && shifted / Stride < Width) {
                const int i = b * Rows + r, o = shifted / Stride;
                sum[i][o] = Products::multiply_add(w[b][k], v, sum[i][o]);
              }
            }
          }
        }
      }
    }
  });
  activate<Rows>(sum, a);
  with_store(a, [&](const auto& put) {
#pragma GCC unroll 32
    for (int i = 0; i < Blocks * Rows; ++i) {
      float* p = a.y + i / Rows * lanes + i % Rows * a.y_stride_row;
#pragma GCC unroll 32
      for (int j = 0; j < Width; ++j, p += a.y_stride_w) put(p, sum[i][j]);
    }
  });
}

/// Where the outputs of a transposed tile go: only [first, last) of its 2 * Width outputs exist.
struct TransposedRange {
  int64_t first, last;
};

/// Rows of a transposed convolution with stride 2: Width inputs of each, and for a kernel of 3 one more, give
/// the even and the odd outputs of 2 * Width positions. Along W, output 2j takes tap 1 of input j; output
/// 2j + 1 takes tap 2 of input j and tap 0 of input j + 1. For a kernel of 2 they are taps 0 and 1 of input
/// j.
template <class Products, int K, int Rows, int Width>
__attribute__((noinline)) void transposed_tile(const TileArguments& a, const TransposedRange& range) {
  constexpr int inputs = K == 3 ? Width + 1 : Width;
  Vec sum[Rows][2 * Width];
  const Vec bias = load(a.bias);
#pragma GCC unroll 32
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 32
    for (int j = 0; j < 2 * Width; ++j) sum[r][j] = bias;
  }
  ask_for_outputs<Rows, 2 * Width>(a);
  for_each_row_of_taps<K, Rows, inputs, Ahead::lines>(
      a, [&](const float* x, const float* weights, int64_t channels) {
#pragma GCC unroll 1
        for (int64_t c = 0; c < channels; ++c, ++x, weights += K * lanes) {
          Vec w[K];
#pragma GCC unroll 3
          for (int k = 0; k < K; ++k) w[k] = load(weights + k * lanes);
#pragma GCC unroll 32
          for (int r = 0; r < Rows; ++r) {
            const float* p = x + r * a.x_stride_row;
#pragma GCC unroll 32
            for (int j = 0; j < inputs; ++j, p += a.x_stride_w) {
              const Vec v = broadcast(*p);
              if (K == 3 && j > 0) sum[r][2 * j - 1] = Products::multiply_add(w[0], v, sum[r][2 * j - 1]);
              if (j < Width) sum[r][2 * j] = Products::multiply_add(w[K - 2], v, sum[r][2 * j]);
              if (j < Width) sum[r][2 * j + 1] = Products::multiply_add(w[K - 1], v, sum[r][2 * j + 1]);
            }
          }
        }
      });
  activate<Rows>(sum, a);
  const bool whole = range.first == 0 && range.last == 2 * Width;
  const auto exists = [&](int j) { return whole || (j >= range.first && j < range.last); };
  if (a.add) {
    with_block(a.out_channels, [&](const auto& block) {
#pragma GCC unroll 32
      for (int r = 0; r < Rows; ++r) {
        const float* p = a.y + r * a.y_stride_row;
#pragma GCC unroll 32
        for (int j = 0; j < 2 * Width; ++j, p += a.y_stride_w) {
          if (exists(j)) sum[r][j] += block.load(p);
        }
      }
    });
  }
  with_store(a, [&](const auto& put) {
#pragma GCC unroll 32
    for (int r = 0; r < Rows; ++r) {
      float* p = a.y + r * a.y_stride_row;
#pragma GCC unroll 32
      for (int j = 0; j < 2 * Width; ++j, p += a.y_stride_w) {
        if (exists(j)) put(p, sum[r][j]);
      }
    }
  });
}

struct GradientArguments {
  const float* x;   ///< first input of the first row
  const float* dy;  ///< first gradient of the first row
  int64_t x_stride_w, x_stride_row, x_stride_plane, x_width;
  int64_t dy_stride_w, dy_stride_row, dy_stride_plane, dy_width;
  int64_t out_channels;  ///< of this block, at most `lanes`
  int64_t planes, rows;  ///< of dy
  float* sums;           ///< [K][input channels][lanes]
  int64_t sum_stride;    ///< between the taps in `sums`
  Prefetcher* prefetcher = nullptr;
  int64_t lines = 0;       ///< to ask for before each row
  bool overwrite = false;  ///< the sums, instead of adding to them
};

/// Input channels of a gradient tile: three taps, three vectors of dy and a broadcast are 28 of 32 or 16 of
/// 16 registers; a single tap needs eight sums to hide the latency of the FMAs.
template <int K>
inline constexpr int gradient_channels = K == 1 ? 8 : lanes / 2;

/// sums[k][i] += (or =) sum over rows and positions j of dy[j] * x[Stride * j - Padding + k][i], for Channels
/// inputs i. The sum over the rows is taken in registers and then added: sums grow in two levels. Positions
/// outside of the row are left out, so that x needs no halo. The sums in memory are asked for at the start:
/// those of many channels come from beyond the level-2 cache.
template <int K, int Stride, int Padding, int Channels, class Block>
__attribute__((noinline)) void gradient_tile(const GradientArguments& a, const Block& block) {
  Vec sum[K][Channels];
#pragma GCC unroll 3
  for (int k = 0; k < K; ++k) {
#pragma GCC unroll 16
    for (int c = 0; c < Channels; ++c) {
      sum[k][c] = Vec{};
      __builtin_prefetch(a.sums + k * a.sum_stride + c * lanes, 1);
    }
  }
  for (int64_t i = 0, d = 0, r = 0; i < a.planes * a.rows; ++i, ++r) {
    if (r == a.rows) ++d, r = 0;
    if (a.lines > 0) a.prefetcher->run(a.lines);
    const float* x = a.x + d * a.x_stride_plane + r * a.x_stride_row;
    const float* dy = a.dy + d * a.dy_stride_plane + r * a.dy_stride_row;
    if constexpr (Stride == 1 && K == 3) {
      // Input q meets dy[q + Padding - k] at tap k: a window that slides over dy.
      Vec window[3] = {};
      if constexpr (Padding == 1) window[0] = block.load(dy);
      dy += Padding * a.dy_stride_w;
      const auto step = [&](Vec next) __attribute__((always_inline)) {
        window[2] = window[1], window[1] = window[0], window[0] = next;
#pragma GCC unroll 16
        for (int c = 0; c < Channels; ++c) {
          const Vec v = broadcast(x[c]);
          sum[0][c] += window[0] * v;
          sum[1][c] += window[1] * v;
          sum[2][c] += window[2] * v;
        }
        x += a.x_stride_w;
      };
      const int64_t inside = a.dy_width - Padding;
#pragma GCC unroll 1
      for (int64_t q = 0; q < inside; ++q, dy += a.dy_stride_w) step(block.load(dy));
#pragma GCC unroll 1
      for (int64_t q = inside; q < a.x_width; ++q) step(Vec{});
    } else {
      // For a stride of 2 and a kernel of 3, tap 2 of one output and tap 0 of the next meet the same input.
      Vec previous{};
      x -= Padding * a.x_stride_w;
#pragma GCC unroll 1
      for (int64_t j = 0; j < a.dy_width; ++j, dy += a.dy_stride_w) {
        const Vec current = block.load(dy);
        if (Padding == 0 || j > 0) {
#pragma GCC unroll 16
          for (int c = 0; c < Channels; ++c) {
            const Vec v = broadcast(x[c]);
            sum[0][c] += current * v;
            if constexpr (K == 3) sum[2][c] += previous * v;
          }
        }
        if constexpr (K > 1) {
#pragma GCC unroll 16
          for (int c = 0; c < Channels; ++c) sum[1][c] += current * broadcast(x[a.x_stride_w + c]);
        }
        previous = current;
        x += Stride * a.x_stride_w;
      }
      if (K == 3 && Stride * a.dy_width - Padding < a.x_width) {
#pragma GCC unroll 16
        for (int c = 0; c < Channels; ++c) sum[K - 1][c] += previous * broadcast(x[c]);
      }
    }
  }
#pragma GCC unroll 3
  for (int k = 0; k < K; ++k) {
    float* const p = a.sums + k * a.sum_stride;
#pragma GCC unroll 16
    for (int c = 0; c < Channels; ++c)
      store(p + c * lanes, a.overwrite ? sum[k][c] : load(p + c * lanes) + sum[k][c]);
  }
}

}  // namespace vg::kernels::cpu::VG_ISA
