// The weight gradient by Winograd: dg = sum over tiles of G^T [(A dy) . (B^T x)] G, so that the sum over
// voxels is taken of products of transformed operands, and only its end is transformed back.
//
// Voxels are cut into pieces by the shapes alone, each with sums of its own, as in the direct gradient. Sums
// grow in three levels, which Winograd needs: along the rows of a strip in registers, over the strips of a
// piece, over the pieces. In one level the rounding errors of long sums, which the last transform subtracts
// from each other, are five times as large.
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
      : dy_(dy), x_(x), out_blocks_(dy.c / lanes), rows_(strip_rows()), strips_h_(dy.h / MH / rows_) {
    constexpr int64_t all_bytes = 8 << 20, wanted_items = 64;
    const int64_t all = out_blocks_ * block_floats() * static_cast<int64_t>(sizeof(float));
    pieces_ = clamped(all_bytes / all, 1, clamped(strips(), 1, wanted_items));
    group_blocks_ = out_blocks_;
    while (group_blocks_ > 1 && pieces_ * (out_blocks_ / group_blocks_) < 16 && group_blocks_ % 2 == 0)
      group_blocks_ /= 2;
  }

  void run(float* dweight, WorkspaceScope& scope) const {
    const int64_t all = out_blocks_ * block_floats(), groups = out_blocks_ / group_blocks_;
    float* const sums = scope.allocate<float>(static_cast<size_t>(pieces_ * all));
    float* const scratch = scope.allocate<float>(static_cast<size_t>(thread_count() * scratch_floats()));
    parallel_for(pieces_ * groups, 1, [&](int64_t item) {
      const int64_t piece = item / groups, block = item % groups * group_blocks_;
      run_piece(sums + piece * all + block * block_floats(), piece, block,
                scratch + thread_index() * scratch_floats());
    });
    add_pieces(sums, all);
    parallel_for(out_blocks_ * x_.c, 8, [&](int64_t i) { finish(dweight, sums, i / x_.c, i % x_.c); });
  }

 private:
  static constexpr int64_t frequencies = int64_t{MD + 2} * (MH + 2);

  // Enough positions in registers for the traffic of the sums, as long as the operands stay in the cache.
  int64_t strip_rows() const {
    constexpr int64_t positions = 80;
    int64_t rows = 1;
    while (2 * rows * dy_.w <= positions && dy_.h / MH % (2 * rows) == 0) rows *= 2;
    return rows;
  }

  // Sums of a block of outputs: [frequency][kw][in][lanes].
  int64_t block_floats() const { return frequencies * 3 * x_.c * lanes; }

  // Operands of a strip: [frequency][block of channels][row][position][channel]; dy's of one group.
  int64_t input_block() const { return rows_ * dy_.w * channel_block; }
  int64_t input_stride() const { return x_.c / channel_block * input_block() + channel_block; }
  int64_t gradient_block() const { return rows_ * dy_.w * lanes; }
  int64_t gradient_stride() const { return group_blocks_ * gradient_block() + channel_block; }
  int64_t scratch_floats() const {
    return frequencies * (input_stride() + gradient_stride()) + channel_block;
  }

  // Strips: `rows_` tiles along H, one along D, all of W. Rows outside, planes inside.
  int64_t strips() const { return dy_.n * (dy_.d / MD) * strips_h_; }
  struct Strip {
    int64_t n, d, h;
  };
  Strip strip(int64_t index) const {
    const int64_t tiles_d = dy_.d / MD;
    return {index / tiles_d / strips_h_, index % tiles_d * MD, index / tiles_d % strips_h_ * rows_ * MH};
  }

  void run_piece(float* sums, int64_t piece, int64_t block, float* scratch) const {
    float* const gradients = scratch + frequencies * input_stride();
    std::memset(sums, 0, static_cast<size_t>(group_blocks_ * block_floats()) * sizeof(float));
    const int64_t last = piece_begin(strips(), pieces_, piece + 1);
    for (int64_t i = piece_begin(strips(), pieces_, piece); i < last; ++i) {
      const Strip s = strip(i);
      transform_inputs(s, scratch);
      transform_gradients(s, block, gradients);
      multiply(scratch, gradients, sums, strip(i + 1 < last ? i + 1 : i), block);
    }
  }

  void transform_inputs(const Strip& s, float* inputs) const {
    const int64_t stride = input_stride();
    for (int64_t c = 0; c < x_.c; c += lanes) {
      for (int64_t r = 0; r < rows_; ++r) {
        const float* in = x_.at(s.n, s.d - 1, s.h + r * MH - 1) + c;
        float* out =
            inputs + c / channel_block * input_block() + r * dy_.w * channel_block + c % channel_block;
        for (int64_t w = 0; w < x_.w; ++w, in += x_.stride_w, out += channel_block) {
          transform_tile<InputTransform, MD, MH>(
              [&](int d, int h)
                  __attribute__((always_inline)) { return load(in + d * x_.stride_d + h * x_.stride_h); },
              [&](int d, int h, Vec v)
                  __attribute__((always_inline)) { store(out + (d * (MH + 2) + h) * stride, v); });
        }
      }
    }
  }

  void transform_gradients(const Strip& s, int64_t block, float* gradients) const {
    const int64_t stride = gradient_stride();
    for (int64_t i = 0; i < group_blocks_; ++i) {
      for (int64_t r = 0; r < rows_; ++r) {
        const float* in = dy_.at(s.n, s.d, s.h + r * MH) + (block + i) * lanes;
        float* out = gradients + i * gradient_block() + r * dy_.w * lanes;
        for (int64_t w = 0; w < dy_.w; ++w, in += dy_.stride_w, out += lanes) {
          transform_tile<OutputGradientTransform, MD, MH>(
              [&](int d, int h)
                  __attribute__((always_inline)) { return load(in + d * dy_.stride_d + h * dy_.stride_h); },
              [&](int d, int h, Vec v)
                  __attribute__((always_inline)) { store(out + (d * (MH + 2) + h) * stride, v); });
        }
      }
    }
  }

  void multiply(const float* inputs, const float* gradients, float* sums, const Strip& next,
                int64_t block) const {
    constexpr int wide = gradient_channels<3>;
    GradientArguments a{};
    a.x_stride_w = channel_block, a.x_stride_row = dy_.w * channel_block, a.x_width = dy_.w;
    a.dy_stride_w = lanes, a.dy_stride_row = dy_.w * lanes, a.dy_width = dy_.w;
    a.out_channels = lanes, a.planes = 1, a.rows = rows_, a.sum_stride = x_.c * lanes;
    Prefetcher ahead = operands(next, block);
    const int64_t rows = frequencies * group_blocks_ * (x_.c / wide) * rows_;
    a.prefetcher = &ahead, a.lines = (ahead.lines() + rows - 1) / rows;
    for (int64_t f = 0; f < frequencies; ++f) {
      for (int64_t i = 0; i < group_blocks_; ++i) {
        a.dy = gradients + f * gradient_stride() + i * gradient_block();
        for (int64_t c = 0; c < x_.c; c += wide) {
          a.x = inputs + f * input_stride() + c / channel_block * input_block() + c % channel_block;
          a.sums = sums + i * block_floats() + f * 3 * a.sum_stride + c * lanes;
          gradient_tile<3, 1, 1, wide>(a, FullBlock{});
        }
      }
    }
  }

  // What a strip is the first to need: the planes of x that the one before has not read, and dy.
  Prefetcher operands(const Strip& s, int64_t block) const {
    Prefetcher result;
    result.add(region(x_, s.n, s.d + 1, s.h - 1, 0, MD, rows_ * MH + 2, x_.w, 0, x_.c));
    result.add(region(dy_, s.n, s.d, s.h, 0, MD, rows_ * MH, dy_.w, block * lanes, group_blocks_ * lanes));
    return result;
  }

  // The sums of all pieces, in their order, into those of the first.
  void add_pieces(float* sums, int64_t all) const {
    constexpr int64_t run = 256 * lanes;
    parallel_for((all + run - 1) / run, 1, [&](int64_t part) {
      const int64_t end = (part + 1) * run < all ? (part + 1) * run : all;
      for (int64_t i = part * run; i < end; i += lanes) {
        Vec sum = load(sums + i);
        for (int64_t piece = 1; piece < pieces_; ++piece) sum += load(sums + piece * all + i);
        store(sums + i, sum);
      }
    });
  }

  // The gradients of all taps of one input channel for a block of outputs.
  void finish(float* dweight, const float* sums, int64_t block, int64_t in) const {
    float taps[tap_floats];
    const float* const source = sums + block * block_floats() + in * lanes;
    const int64_t stride = x_.c * lanes;
    for (int kw = 0; kw < 3; ++kw) {
      transform_tile<FilterGradientTransform, MD, MH>(
          [&](int d, int h) __attribute__((always_inline)) {
            return load(source + ((d * (MH + 2) + h) * 3 + kw) * stride);
          },
          [&](int d, int h, Vec v)
              __attribute__((always_inline)) { store(taps + ((d * 3 + h) * 3 + kw) * lanes, v); });
    }
    add_taps(dweight + (block * lanes * x_.c + in) * 27, x_.c * 27, lanes, taps, 27);
  }

  View<const float> dy_, x_;
  int64_t out_blocks_, rows_, strips_h_, pieces_, group_blocks_;
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
