// The weight gradient by Winograd: dg = sum over tiles of G^T [(A dy) . (B^T x)] G, so that the sum over
// voxels is taken of products of transformed operands, and only its end is transformed back.
//
// Where the sums are few, voxels are cut into pieces by the shapes alone, each with sums of its own, as in
// the direct gradient. Sums grow in three levels, which Winograd needs: along the rows of a strip in
// registers, over the strips of a piece, over the pieces. In one level the rounding errors of long sums,
// which the last transform subtracts from each other, are many times as large. Where channels are many and
// the sums megabytes, all threads share one set of them, which grow in two levels: over twice as many rows in
// registers.
#include "kernels/common/parallel.h"
#include "kernels/conv3d/conv3d_tile_cpu.h"
#include "kernels/conv3d/conv3d_winograd_cpu.h"
#include "kernels/conv3d/conv3d_winograd_transform_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

int64_t clamped(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : (value > high ? high : value);
}

template <int MD, int MH>
class WinogradGradient {
 public:
  WinogradGradient(View<const float> dy, View<const float> x)
      : dy_(dy),
        x_(x),
        in_blocks_(x.c / channel_block),
        out_blocks_(dy.c / lanes),
        tiles_d_(winograd_tiles(dy.d, MD)),
        rows_(strip_rows()),
        strips_h_(winograd_tiles(dy.h, MH) / rows_),
        sum_rows_(dy.w < 2 * strip_positions ? 2 * strip_positions / dy.w : 1) {}

  void run(float* dweight, WorkspaceScope& scope) const {
    constexpr int64_t usual_bytes = 8 << 20, most_bytes = 16 << 20, least_pieces = 16, most_pieces = 64;
    const int64_t all = out_blocks_ * block_floats();
    const int64_t pieces = clamped(usual_bytes / bytes(all), least_pieces, most_pieces);
    const float* const sums = bytes(pieces * all) <= most_bytes
                                  ? sum_in_pieces(clamped(pieces, 1, strips()), all, scope)
                                  : sum_in_chunks(all, scope);
    const int64_t parts = x_.c / wide;
    parallel_for(out_blocks_ * parts, 1,
                 [&](int64_t i) { finish(dweight, sums, i / parts, i % parts * wide); });
  }

 private:
  static constexpr int64_t frequencies = int64_t{MD + 2} * (MH + 2);
  // Positions of a strip at most, and half of those over which a sum grows in registers.
  static constexpr int64_t strip_positions = 80;
  static constexpr int wide = gradient_channels<3>;
  static int64_t bytes(int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); }

  // Enough positions in registers for the traffic of the sums, as long as the operands stay in the cache.
  int64_t strip_rows() const {
    const int64_t tiles = winograd_tiles(dy_.h, MH);
    int64_t rows = 1;
    while (2 * rows * dy_.w <= strip_positions && tiles % (2 * rows) == 0) rows *= 2;
    return rows;
  }

  // Sums of a block of outputs: [part of `wide` inputs][frequency][kw][in][lanes].
  static constexpr int64_t part_floats = frequencies * 3 * wide * lanes;
  int64_t block_floats() const { return x_.c / wide * part_floats; }

  // Transformed operands of some strips: [frequency][block of channels][row][position][channel]. A cache line
  // between frequencies keeps them out of each other's sets of the caches.
  struct Operands {
    float *inputs, *gradients;
    int64_t rows;
    int64_t input_block, input_stride, gradient_block, gradient_stride;
  };
  Operands operands(float* memory, int64_t strips) const {
    const int64_t rows = strips * rows_, positions = rows * dy_.w;
    Operands o{memory, nullptr, rows, positions * channel_block, 0, positions * lanes, 0};
    o.input_stride = in_blocks_ * o.input_block + line_floats;
    o.gradient_stride = out_blocks_ * o.gradient_block + line_floats;
    o.gradients = memory + frequencies * o.input_stride;
    return o;
  }
  int64_t operand_floats(int64_t strips) const {
    const Operands o = operands(nullptr, strips);
    return frequencies * (o.input_stride + o.gradient_stride) + line_floats;
  }

  // Strips: `rows_` tiles along H, one along D, all of W. Rows outside, planes inside.
  int64_t strips() const { return dy_.n * tiles_d_ * strips_h_; }
  struct Strip {
    int64_t n;
    TileStart d;
    int64_t tile_h;  // the first one
  };
  Strip strip(int64_t index) const {
    return {index / tiles_d_ / strips_h_, winograd_tile_start(index % tiles_d_, MD, dy_.d),
            index / tiles_d_ % strips_h_ * rows_};
  }

  // Few sums: a thread takes a piece's strips one after the other, with operands that stay in its caches.
  const float* sum_in_pieces(int64_t pieces, int64_t all, WorkspaceScope& scope) const {
    float* const sums = scope.allocate<float>(static_cast<size_t>(pieces * all));
    float* const scratch = scope.allocate<float>(static_cast<size_t>(thread_count() * operand_floats(1)));
    parallel_for(pieces, 1, [&](int64_t piece) {
      const Operands o = operands(scratch + thread_index() * operand_floats(1), 1);
      const int64_t first = piece_begin(strips(), pieces, piece),
                    last = piece_begin(strips(), pieces, piece + 1);
      for (int64_t i = first; i < last; ++i) {
        transform_inputs(strip(i), o, 0, 0, x_.c);
        transform_gradients(strip(i), o, 0, 0, dy_.c);
        Prefetcher ahead = needed_by(strip(i + 1 < last ? i + 1 : i));
        const int64_t rows = frequencies * out_blocks_ * (x_.c / wide) * rows_;
        GradientArguments a = arguments();
        a.prefetcher = &ahead, a.lines = (ahead.lines() + rows - 1) / rows;
        for (int64_t f = 0; f < frequencies; ++f) {
          for (int64_t block = 0; block < out_blocks_; ++block)
            multiply(a, o, sums + piece * all, f, block, i == first);
        }
      }
    });
    add_pieces(sums, pieces, all);
    return sums;
  }

  // Many sums, which no thread can have for itself: all threads transform the operands of many strips, then
  // they share the sums, each of which is touched once for all those strips.
  const float* sum_in_chunks(int64_t all, WorkspaceScope& scope) const {
    constexpr int64_t most_bytes = 12 << 20;
    const int64_t most = clamped(most_bytes / bytes(operand_floats(1)), 1, strips()),
                  chunks = (strips() + most - 1) / most;
    float* const sums = scope.allocate<float>(static_cast<size_t>(all));
    float* const scratch =
        scope.allocate<float>(static_cast<size_t>(operand_floats((strips() + chunks - 1) / chunks)));
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t first = piece_begin(strips(), chunks, chunk),
                    count = piece_begin(strips(), chunks, chunk + 1) - first;
      const Operands o = operands(scratch, count);
      const int64_t ins = neighbouring_channels(x_.c), outs = neighbouring_channels(dy_.c),
                    in_parts = x_.c / ins, parts = in_parts + dy_.c / outs;
      parallel_for(count * parts, 1, [&](int64_t i) {
        const int64_t s = i / parts, part = i % parts, out = (part - in_parts) * outs;
        if (part < in_parts)
          transform_inputs(strip(first + s), o, s * rows_, part * ins, (part + 1) * ins);
        else
          transform_gradients(strip(first + s), o, s * rows_, out, out + outs);
      });
      // A frequency's inputs stay in the cache of a thread that takes all its blocks.
      const int64_t grain = frequencies >= 4 * thread_count() ? out_blocks_ : 1;
      parallel_for(frequencies * out_blocks_, grain, [&](int64_t i) {
        GradientArguments a = arguments();
        multiply(a, o, sums, i / out_blocks_, i % out_blocks_, chunk == 0);
      });
    }
    return sums;
  }

  // Channels [first, last) of a strip, into the operands' rows from `row` on. They are the innermost loop: a
  // voxel's lines are neighbours.
  void transform_inputs(const Strip& s, const Operands& o, int64_t row, int64_t first, int64_t last) const {
    const int64_t stride = o.input_stride, block = o.input_block, stride_d = x_.stride_d,
                  stride_h = x_.stride_h;
    for (int64_t r = 0; r < rows_; ++r) {
      const TileStart start = winograd_tile_start(s.tile_h + r, MH, dy_.h);
      const float* voxel = x_.at(s.n, s.d.begin - 1, start.begin - 1);
      float* position = o.inputs + (row + r) * dy_.w * channel_block;
      for (int64_t w = 0; w < x_.w; ++w, voxel += x_.stride_w, position += channel_block) {
        for (int64_t c = first; c < last; c += lanes) {
          const float* const in = voxel + c;
          float* const out = position + c / channel_block * block + c % channel_block;
          transform_tile<InputTransform, MD, MH>(
              [&](int d, int h)
                  __attribute__((always_inline)) { return load(in + d * stride_d + h * stride_h); },
              [&](int d, int h, Vec v)
                  __attribute__((always_inline)) { store(out + (d * (MH + 2) + h) * stride, v); });
        }
      }
    }
  }

  // The same of dy. Outputs that the tile before has too count as zero.
  void transform_gradients(const Strip& s, const Operands& o, int64_t row, int64_t first,
                           int64_t last) const {
    const int64_t stride = o.gradient_stride, block = o.gradient_block, stride_d = dy_.stride_d,
                  stride_h = dy_.stride_h, done_d = s.d.done;
    for (int64_t r = 0; r < rows_; ++r) {
      const TileStart start = winograd_tile_start(s.tile_h + r, MH, dy_.h);
      const float* voxel = dy_.at(s.n, s.d.begin, start.begin);
      float* position = o.gradients + (row + r) * dy_.w * lanes;
      for (int64_t w = 0; w < dy_.w; ++w, voxel += dy_.stride_w, position += lanes) {
        for (int64_t c = first; c < last; c += lanes) {
          const float* const in = voxel + c;
          float* const out = position + c / lanes * block;
          transform_tile<OutputGradientTransform, MD, MH>(
              [&](int d, int h) __attribute__((always_inline)) {
                return d < done_d || h < start.done ? Vec{} : load(in + d * stride_d + h * stride_h);
              },
              [&](int d, int h, Vec v)
                  __attribute__((always_inline)) { store(out + (d * (MH + 2) + h) * stride, v); });
        }
      }
    }
  }

  // What all products have in common.
  GradientArguments arguments() const {
    GradientArguments a{};
    a.x_stride_w = channel_block, a.x_stride_row = dy_.w * channel_block, a.x_width = dy_.w;
    a.dy_stride_w = lanes, a.dy_stride_row = dy_.w * lanes, a.dy_width = dy_.w;
    a.out_channels = lanes, a.planes = 1, a.sum_stride = wide * lanes;
    return a;
  }

  // A frequency's products for one block of outputs, in registers over up to `sum_rows_` rows, into the sums
  // if these are the `first`, else added to them.
  void multiply(GradientArguments& a, const Operands& o, float* sums, int64_t f, int64_t block,
                bool first) const {
    for (int64_t c = 0; c < x_.c; c += wide) {
      a.sums = sums + block * block_floats() + c / wide * part_floats + f * 3 * a.sum_stride;
      for (int64_t r = 0; r < o.rows; r += sum_rows_) {
        a.rows = r + sum_rows_ < o.rows ? sum_rows_ : o.rows - r;
        a.overwrite = first && r == 0;
        a.dy = o.gradients + f * o.gradient_stride + block * o.gradient_block + r * a.dy_stride_row;
        a.x = o.inputs + f * o.input_stride + c / channel_block * o.input_block + r * a.x_stride_row +
              c % channel_block;
        gradient_tile<3, 1, 1, wide>(a, FullBlock{});
      }
    }
  }

  // What a strip is the first to need: the planes of x that the one before has not read, and dy.
  Prefetcher needed_by(const Strip& s) const {
    Prefetcher result;
    const int64_t d = s.d.begin + s.d.done, planes = MD - s.d.done,
                  h = winograd_tile_start(s.tile_h, MH, dy_.h).begin;
    result.add(region(x_, s.n, d + 1, h - 1, 0, planes, rows_ * MH + 2, x_.w, 0, x_.c));
    result.add(region(dy_, s.n, d, h, 0, planes, rows_ * MH, dy_.w, 0, dy_.c));
    return result;
  }

  // The sums of all pieces, in their order, into those of the first.
  static void add_pieces(float* sums, int64_t pieces, int64_t all) {
    constexpr int64_t run = 256 * lanes;
    parallel_for((all + run - 1) / run, 1, [&](int64_t part) {
      const int64_t end = (part + 1) * run < all ? (part + 1) * run : all;
      for (int64_t i = part * run; i < end; i += lanes) {
        Vec sum = load(sums + i);
        for (int64_t piece = 1; piece < pieces; ++piece) sum += load(sums + piece * all + i);
        store(sums + i, sum);
      }
    });
  }

  // The gradients of all taps of `wide` input channels for a block of outputs.
  void finish(float* dweight, const float* sums, int64_t block, int64_t first) const {
    const float* const part = sums + block * block_floats() + first / wide * part_floats;
    for (int64_t in = 0; in < wide; ++in) {
      float taps[tap_floats];
      const float* const source = part + in * lanes;
      for (int kw = 0; kw < 3; ++kw) {
        transform_tile<FilterGradientTransform, MD, MH>(
            [&](int d, int h) __attribute__((always_inline)) {
              return load(source + ((d * (MH + 2) + h) * 3 + kw) * wide * lanes);
            },
            [&](int d, int h, Vec v)
                __attribute__((always_inline)) { store(taps + ((d * 3 + h) * 3 + kw) * lanes, v); });
      }
      add_taps(dweight + (block * lanes * x_.c + first + in) * 27, x_.c * 27, lanes, taps, 27);
    }
  }

  View<const float> dy_, x_;
  int64_t in_blocks_, out_blocks_, tiles_d_, rows_, strips_h_, sum_rows_;
};

template <int MD, int MH>
void run_gradient(float* dweight, const View<const float>& dy, const View<const float>& x, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  WinogradGradient<MD, MH>(dy, x).run(dweight, scope);
}

}  // namespace

void correlation_gradient_winograd(float* dweight, View<const float> dy, View<const float> x,
                                   const Exec& exec) {
  const WinogradTile tile = winograd_tile(dy.d, dy.h);
  if (tile.d == 4) return run_gradient<4, 4>(dweight, dy, x, exec);
  if (tile.h == 4) return run_gradient<2, 4>(dweight, dy, x, exec);
  run_gradient<2, 2>(dweight, dy, x, exec);
}

}  // namespace vg::kernels::cpu::VG_ISA
