// Winograd correlation, everything about a strip of tiles at a time: inputs are transformed into scratch, one
// product per frequency, outputs transformed back. Nothing between them leaves the level-2 cache.
#include "kernels/conv3d/conv3d_winograd_cpu.h"
#include "kernels/common/parallel.h"
#include "kernels/common/stream.h"
#include "kernels/conv3d/conv3d_tile_cpu.h"
#include "kernels/conv3d/conv3d_winograd_transform_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

template <int MD, int MH>
void transform_filters(float* filters, const Weights& weights) {
  const int64_t inputs = weights.inputs(), blocks = weights.out_blocks(),
                stride = blocks * inputs * 3 * lanes;
  const auto transform = [&](float* out_filters, int64_t out_stride, int64_t block, int64_t in) {
    float taps[tap_floats];
    load_taps(taps, weights, block, in);
    for (int kw = 0; kw < 3; ++kw) {
      float* const out = out_filters + kw * lanes;
      transform_tile<FilterTransform, MD, MH>(
          [&](int d, int h)
              __attribute__((always_inline)) { return load(taps + ((d * 3 + h) * 3 + kw) * lanes); },
          [&](int d, int h, Vec v)
              __attribute__((always_inline)) { store(out + (d * (MH + 2) + h) * out_stride, v); });
    }
  };
  parallel_for(blocks * inputs, channel_block, [&](int64_t i) {
    float* const out = filters + i * 3 * lanes;
    const int64_t block = i / inputs, in = i % inputs;
    if (!weights.bfloat16) return transform(out, stride, block, in);
    constexpr int frequencies = (MD + 2) * (MH + 2);
    float both[2][frequencies * 3 * lanes];
    for (int half = 0; half < 2; ++half) transform(both[half], 3 * lanes, block, 2 * in + half);
    for (int f = 0; f < frequencies; ++f)
      pair_taps(out + f * stride, both[0] + f * 3 * lanes, both[1] + f * 3 * lanes, 3);
  });
}

// A strip: `rows` tiles along H and one along D, of `width` positions.
struct Strip {
  int64_t n, d, h, w;  // the first output
};

template <class Products, int MD, int MH>
class WinogradCorrelation {
 public:
  WinogradCorrelation(View<float> y, View<const float> x, const float* filters,
                      const PackedEpilogue& epilogue)
      : y_(y),
        x_(x),
        filters_(filters),
        epilogue_(epilogue),
        tile_(dividing_tile<Products>(y.h / MH, y.w)),
        words_(bfloat16 ? x.c / 2 : x.c),
        in_blocks_((words_ + channel_block - 1) / channel_block),
        out_blocks_(y.c / lanes),
        rows_(strip_rows()),
        width_(strip_width()),
        strips_w_((y.w + width_ - 1) / width_),
        strips_h_(y.h / MH / rows_),
        chunk_strips_(strips_h_ % 4 == 0 ? 4 : (strips_h_ % 2 == 0 ? 2 : 1)),
        streamed_(streams(y)) {}

  void run(WorkspaceScope& scope) const {
    const int64_t strips = y_.n * (y_.d / MD) * strips_h_ * strips_w_, whole = chunk_strips_ * strips_w_;
    if (strips < 2 * thread_count() && thread_count() > 2) return run_in_phases(strips, scope);
    const int64_t grain = strips / whole >= 32 ? whole : 1;
    float* const scratch = scope.allocate<float>(static_cast<size_t>(thread_count() * scratch_floats()));
    parallel_for(strips, grain, [&](int64_t i) {
      run_strip(strip(i), strip(i + 1 < strips ? i + 1 : i), scratch + thread_index() * scratch_floats());
    });
  }

 private:
  static constexpr int64_t frequencies = int64_t{MD + 2} * (MH + 2);
  static constexpr bool bfloat16 = std::is_same_v<Products, Bfloat16Products>;

  // Too few strips for the threads: all of them take each step together, cut by channels and frequencies too.
  // The same sums in the same order; the steps are not inlined, because a compiler may round two copies of an
  // expression differently by its choice of fused operations, and the number of threads must not show.
  void run_in_phases(int64_t strips, WorkspaceScope& scope) const {
    float* const scratch = scope.allocate<float>(static_cast<size_t>(strips * scratch_floats()));
    const int64_t products = frequencies * input_stride();
    parallel_for(strips * (x_.c / channel_block), 1, [&](int64_t i) {
      const int64_t c = i / strips * channel_block;
      transform_inputs(strip(i % strips), scratch + i % strips * scratch_floats(), c, c + channel_block);
    });
    // A frequency's inputs are read by all blocks of outputs, one after the other.
    parallel_for(frequencies * out_blocks_, 4, [&](int64_t i) {
      for (int64_t s = 0; s < strips; ++s) {
        float* const mine = scratch + s * scratch_floats();
        StripProducts p(*this);
        multiply_block(p, mine, mine + products, i / out_blocks_, i % out_blocks_);
      }
    });
    parallel_for(strips * out_blocks_, 1, [&](int64_t i) {
      const int64_t block = i / strips;
      transform_outputs(strip(i % strips), scratch + i % strips * scratch_floats() + products, block,
                        block + 1);
    });
  }

  // A tile's rows, or several of them where rows are short, so that filters are read from the level-2 cache
  // only once for them.
  int64_t strip_rows() const { return tile_.rows; }

  // Whole tiles, as many as let inputs and products of all frequencies stay in the level-2 cache.
  int64_t strip_width() const {
    constexpr int64_t scratch_bytes = 400 << 10;
    const int64_t position = frequencies * rows_ * (words_ + y_.c) * static_cast<int64_t>(sizeof(float));
    const int64_t tiles = scratch_bytes / (position * tile_.width);
    const int64_t width = (tiles < 1 ? 1 : tiles) * tile_.width;
    return width < y_.w ? width : y_.w;
  }

  // [frequency][block of in][row][position][channel or pair of channels], and [frequency][block of
  // out][row][position][lane]. The cache line between frequencies keeps them from competing for the same sets
  // of the level-1 cache.
  int64_t position_words() const { return words_ < channel_block ? words_ : channel_block; }
  int64_t input_row() const { return (width_ + 2) * position_words(); }
  int64_t input_stride() const { return in_blocks_ * rows_ * input_row() + channel_block; }
  int64_t product_block() const { return rows_ * width_ * lanes; }
  int64_t product_stride() const { return out_blocks_ * product_block() + channel_block; }
  int64_t scratch_floats() const { return frequencies * (input_stride() + product_stride()) + channel_block; }

  // Chunks of rows outside, planes inside: the planes that two tiles along D share are read from memory once.
  Strip strip(int64_t index) const {
    Strip s{};
    const int64_t w = index % strips_w_ * width_, tiles_d = y_.d / MD;
    s.w = w + width_ <= y_.w ? w : y_.w - width_;
    index /= strips_w_;
    const int64_t in_chunk = index % chunk_strips_;
    index /= chunk_strips_;
    s.d = index % tiles_d * MD;
    index /= tiles_d;
    const int64_t chunks = strips_h_ / chunk_strips_;
    s.h = (index % chunks * chunk_strips_ + in_chunk) * rows_ * MH;
    s.n = index / chunks;
    return s;
  }

  void run_strip(const Strip& s, const Strip& next, float* scratch) const {
    float* const products = scratch + frequencies * input_stride();
    transform_inputs(s, scratch, 0, x_.c);
    StripProducts p(*this);
    p.next = &next;
    for (int64_t f = 0; f < frequencies; ++f) {
      for (int64_t block = 0; block < out_blocks_; ++block) multiply_block(p, scratch, products, f, block);
    }
    transform_outputs(s, products, 0, out_blocks_);
  }

  // Channels [first, last).
  __attribute__((noinline)) void transform_inputs(const Strip& s, float* inputs, int64_t first,
                                                  int64_t last) const {
    const int64_t stride = input_stride();
    for (int64_t c = first; c < last; c += lanes) {
      for (int64_t r = 0; r < rows_; ++r) {
        const float* in = x_.at(s.n, s.d - 1, s.h + r * MH - 1, s.w - 1) + c;
        const int64_t word = bfloat16 ? c / 2 : c;
        float* out = inputs + (word / channel_block * rows_ + r) * input_row() + word % channel_block;
        for (int64_t w = 0; w < width_ + 2; ++w, in += x_.stride_w, out += position_words()) {
          transform_tile<InputTransform, MD, MH>(
              [&](int d, int h)
                  __attribute__((always_inline)) { return load(in + d * x_.stride_d + h * x_.stride_h); },
              [&](int d, int h, Vec v)
                  __attribute__((always_inline)) { store_input(out + (d * (MH + 2) + h) * stride, v); });
        }
      }
    }
  }

  static VG_INLINE void store_input(float* out, Vec v) {
    if constexpr (bfloat16) {
      const HalfWords words = round_to_bfloat16(v);
      std::memcpy(out, &words, sizeof words);
    } else {
      store(out, v);
    }
  }

  // What the products of a strip have in common.
  struct StripProducts {
    TileArguments a{};
    RowTaps taps;
    float zeros[lanes] = {};
    const Strip* next = nullptr;  ///< whose inputs are asked for
    int64_t calls = 0;

    explicit StripProducts(const WinogradCorrelation& c) {
      taps.add(0, 0);
      a.x_stride_w = c.position_words(), a.x_stride_row = c.input_row();
      a.x_stride_block = c.rows_ * c.input_row();
      a.channels = c.words_, a.taps = &taps, a.all_taps = 1, a.bias = zeros;
      a.y_stride_w = lanes, a.y_stride_row = c.width_ * lanes, a.out_channels = lanes;
    }
    StripProducts(const StripProducts&) = delete;
    StripProducts& operator=(const StripProducts&) = delete;
  };

  // One frequency's products for one block of outputs.
  void multiply_block(StripProducts& p, const float* inputs, float* products, int64_t f,
                      int64_t block) const {
    TileArguments& a = p.a;
    a.weights = filters_ + (f * out_blocks_ + block) * words_ * 3 * lanes;
    for (int64_t r = 0; r < rows_; r += tile_.rows) {
      for (int64_t w = 0; w < width_; w += tile_.width) {
        const int64_t first = w + tile_.width <= width_ ? w : width_ - tile_.width;
        a.x = inputs + f * input_stride() + r * input_row() + first * position_words();
        a.y = products + f * product_stride() + block * product_block() + (r * width_ + first) * lanes;
        if (p.next != nullptr) a.ahead = row_ahead(*p.next, p.calls++);
        tile_.run(a);
      }
    }
  }

  // A row of the next strip's inputs for each product until all are asked for. The two planes that it shares
  // with the strip one tile before it along D are in the cache already.
  Lines row_ahead(const Strip& next, int64_t index) const {
    const int64_t rows = rows_ * MH + 2, first_plane = next.d == 0 ? 0 : 2;
    if (index >= (MD + 2 - first_plane) * rows) return {};
    const float* const data =
        x_.at(next.n, next.d - 1 + first_plane + index / rows, next.h - 1 + index % rows, next.w - 1);
    if (x_.stride_w == x_.c) return {data, channel_block, (width_ + 2) * x_.c / channel_block};
    return {data, x_.stride_w, width_ + 2};
  }

  // Blocks [first_block, last_block).
  __attribute__((noinline)) void transform_outputs(const Strip& s, const float* products, int64_t first_block,
                                                   int64_t last_block) const {
    with_activation(epilogue_.kind, [&](auto act) {
      for (int64_t block = first_block; block < last_block; ++block)
        transform_block(s, products + block * product_block(), block, act);
    });
    if (streamed_) finish_streaming();
  }

  template <class Act>
  void transform_block(const Strip& s, const float* products, int64_t block, Act act) const {
    const int64_t stride = product_stride();
    const Vec bias = load(epilogue_.bias + block * lanes);
    const Vec slope = epilogue_.slope != nullptr ? load(epilogue_.slope + block * lanes) : Vec{};
    for (int64_t r = 0; r < rows_; ++r) {
      const float* in = products + r * width_ * lanes;
      float* out = y_.at(s.n, s.d, s.h + r * MH, s.w) + block * lanes;
      for (int64_t w = 0; w < width_; ++w, in += lanes, out += y_.stride_w) {
        transform_tile<OutputTransform, MD, MH>(
            [&](int d, int h)
                __attribute__((always_inline)) { return load(in + (d * (MH + 2) + h) * stride); },
            [&](int d, int h, Vec v) __attribute__((always_inline)) {
              float* const p = out + d * y_.stride_d + h * y_.stride_h;
              const Vec result = act.value(v + bias, slope);
              streamed_ ? stream(p, result) : store(p, result);
            });
      }
    }
  }

  View<float> y_;
  View<const float> x_;
  const float* filters_;
  PackedEpilogue epilogue_;
  const Tile& tile_;
  int64_t words_;  ///< of an input voxel: channels or pairs of them
  int64_t in_blocks_, out_blocks_, rows_, width_, strips_w_, strips_h_, chunk_strips_;
  bool streamed_;
};

template <int MD, int MH>
void run_correlation(View<float> y, View<const float> x, const Weights& weights, const Epilogue& epilogue,
                     const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const float* filters = weights.packed;
  if (filters == nullptr) {
    const WinogradTile tile{MD, MH};
    float* const own = scope.allocate<float>(static_cast<size_t>(winograd_filter_floats(weights, tile)));
    transform_filters<MD, MH>(own, weights);
    filters = own;
  }
  const PackedEpilogue packed_epilogue = pack_epilogue(epilogue, y.c, scope);
  if (weights.bfloat16) {
    WinogradCorrelation<Bfloat16Products, MD, MH>(y, x, filters, packed_epilogue).run(scope);
  } else {
    WinogradCorrelation<FloatProducts, MD, MH>(y, x, filters, packed_epilogue).run(scope);
  }
}

}  // namespace

int64_t winograd_filter_floats(const Weights& weights, const WinogradTile& tile) {
  return tile.frequencies() * weights.out_blocks() * weights.inputs() * 3 * lanes;
}

void winograd_filters(float* filters, const Weights& weights, const WinogradTile& tile) {
  if (tile.d == 4) return transform_filters<4, 4>(filters, weights);
  if (tile.h == 4) return transform_filters<2, 4>(filters, weights);
  transform_filters<2, 2>(filters, weights);
}

void correlate_winograd(View<float> y, View<const float> x, const Weights& weights, const Epilogue& epilogue,
                        const Exec& exec) {
  const WinogradTile tile = winograd_tile(y.d, y.h);
  if (tile.d == 4) return run_correlation<4, 4>(y, x, weights, epilogue, exec);
  if (tile.h == 4) return run_correlation<2, 4>(y, x, weights, epilogue, exec);
  run_correlation<2, 2>(y, x, weights, epilogue, exec);
}

}  // namespace vg::kernels::cpu::VG_ISA
