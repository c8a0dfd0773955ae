// Winograd correlation, everything about a strip of tiles at a time: inputs are transformed into scratch, one
// product per frequency, outputs transformed back. Nothing between them leaves the level-2 cache.
#include "kernels/conv3d/conv3d_winograd_cpu.h"
#include "kernels/common/parallel.h"
#include "kernels/common/stream.h"
#include "kernels/conv3d/conv3d_tile_cpu.h"
#include "kernels/conv3d/conv3d_winograd_transform_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// Floats of a frequency's filters. The last cache line keeps the streams of all frequencies, which are
// written together, out of each other's sets of the caches: without it they are written in twice the time.
int64_t filter_stride(int64_t out_blocks, int64_t inputs) {
  return out_blocks * inputs * 3 * lanes + line_floats;
}

template <int MD, int MH>
void transform_filters(float* filters, const Weights& weights) {
  const int64_t inputs = weights.inputs(), stride = filter_stride(weights.out_blocks(), inputs);
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
  parallel_for(weights.out_blocks() * inputs, channel_block, [&](int64_t i) {
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
  int64_t n;
  TileStart d;
  int64_t tile_h;  // the first one
  int64_t w;
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
        tiles_d_(winograd_tiles(y.d, MD)),
        tile_(dividing_tile<Products>(winograd_tiles(y.h, MH), y.w)),
        words_(bfloat16 ? x.c / 2 : x.c),
        in_blocks_((words_ + channel_block - 1) / channel_block),
        out_blocks_(y.c / lanes),
        rows_(strip_rows()),
        width_(strip_width()),
        strips_w_((y.w + width_ - 1) / width_),
        strips_h_(winograd_tiles(y.h, MH) / rows_),
        chunk_strips_(strips_h_ % 4 == 0 ? 4 : (strips_h_ % 2 == 0 ? 2 : 1)),
        streamed_(streams(y)) {}

  void run(WorkspaceScope& scope) const {
    const int64_t strips = y_.n * tiles_d_ * strips_h_ * strips_w_, whole = chunk_strips_ * strips_w_;
    constexpr int64_t cached_bytes = 4 << 20;
    const bool few = strips < 2 * thread_count() && thread_count() > 2;
    if (few || bytes(frequencies * out_blocks_ * filter_block()) > cached_bytes)
      return run_in_phases(strips, scope);
    const int64_t grain = strips / whole >= 32 ? whole : 1;
    float* const scratch = scope.allocate<float>(static_cast<size_t>(thread_count() * scratch_floats(1)));
    parallel_for(strips, grain, [&](int64_t i) {
      run_strip(strip(i), strip(i + 1 < strips ? i + 1 : i), scratch + thread_index() * scratch_floats(1));
    });
  }

 private:
  static constexpr int64_t frequencies = int64_t{MD + 2} * (MH + 2);
  static constexpr bool bfloat16 = std::is_same_v<Products, Bfloat16Products>;
  static int64_t bytes(int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); }

  // Filters that exceed the level-2 cache, or too few strips for the threads: many strips take each step
  // together, cut by channels and frequencies too. A frequency's filters are read once for all of them.
  // The same sums in the same order; the steps are not inlined, because a compiler may round two copies of an
  // expression differently by its choice of fused operations, and the number of threads must not show.
  void run_in_phases(int64_t strips, WorkspaceScope& scope) const {
    constexpr int64_t most_bytes = 8 << 20;
    const int64_t most = most_bytes / bytes(scratch_floats(1));
    const int64_t groups = most < 2 ? strips : (strips + most - 1) / most,
                  most_strips = (strips + groups - 1) / groups;
    float* const scratch = scope.allocate<float>(static_cast<size_t>(scratch_floats(most_strips)));
    for (int64_t first = 0; first < strips; first += most_strips)
      run_group(first, first + most_strips < strips ? most_strips : strips - first, scratch);
  }

  void run_group(int64_t first, int64_t strips, float* inputs) const {
    float* const products = inputs + frequencies * input_stride(strips);
    const int64_t channels = neighbouring_channels(x_.c), in_parts = x_.c / channels;
    parallel_for(strips * in_parts, 1, [&](int64_t i) {
      const int64_t s = i / in_parts, c = i % in_parts * channels;
      transform_inputs(strip(first + s), inputs + s * input_strip(), input_stride(strips), c, c + channels);
    });
    const int64_t blocks = product_blocks(), parts = out_blocks_ / blocks;
    parallel_for(frequencies * parts, 1, [&](int64_t i) {
      const int64_t f = i / parts, block = i % parts * blocks;
      StripProducts p(*this);
      const float* const in = inputs + f * input_stride(strips);
      for (int64_t s = 0; s < strips; ++s) {
        p.rest = {in + (s + 1) * input_strip(), line_floats, input_strip() / line_floats};
        p.calls_left = blocks * (rows_ / tile_.rows) * ((width_ + tile_.width - 1) / tile_.width);
        for (int64_t b = block; b < block + blocks; ++b)
          multiply_block(p, in + s * input_strip(),
                         products + f * product_stride(strips) + s * product_strip(), f, b);
      }
    });
    parallel_for(strips * out_blocks_, 1, [&](int64_t i) {
      const int64_t s = i % strips, block = i / strips;
      transform_outputs(strip(first + s), products + s * product_strip(), product_stride(strips), block,
                        block + 1);
    });
  }

  // Blocks of outputs that a thread takes one after the other, so that inputs stay in the level-1 cache for
  // them and filters in the level-2 cache for the next strip.
  int64_t product_blocks() const {
    constexpr int64_t cached_bytes = 512 << 10;
    int64_t blocks = out_blocks_;
    while (blocks % 2 == 0 && (bytes(blocks * filter_block()) > cached_bytes ||
                               frequencies * (out_blocks_ / blocks) < 8 * thread_count()))
      blocks /= 2;
    return blocks;
  }

  // A tile's rows, or several of them where rows are short, so that filters are read from the level-2 cache
  // only once for them.
  int64_t strip_rows() const { return tile_.rows; }

  // Whole tiles, as many as let inputs and products of all frequencies stay in the level-2 cache.
  int64_t strip_width() const {
    constexpr int64_t scratch_bytes = 400 << 10;
    const int64_t position = bytes(frequencies * rows_ * (words_ + y_.c));
    const int64_t tiles = scratch_bytes / (position * tile_.width);
    const int64_t width = (tiles < 1 ? 1 : tiles) * tile_.width;
    return width < y_.w ? width : y_.w;
  }

  // [frequency][strip][block of in][row][position][channel or pair of channels], and [frequency][strip][block
  // of out][row][position][lane]. The cache line between frequencies keeps them from competing for the same
  // sets of the level-1 cache.
  int64_t position_words() const { return words_ < channel_block ? words_ : channel_block; }
  int64_t input_row() const { return (width_ + 2) * position_words(); }
  int64_t input_strip() const { return in_blocks_ * rows_ * input_row(); }
  int64_t input_stride(int64_t strips) const { return strips * input_strip() + channel_block; }
  int64_t product_block() const { return rows_ * width_ * lanes; }
  int64_t product_strip() const { return out_blocks_ * product_block(); }
  int64_t product_stride(int64_t strips) const { return strips * product_strip() + channel_block; }
  int64_t scratch_floats(int64_t strips) const {
    return frequencies * (input_stride(strips) + product_stride(strips)) + channel_block;
  }
  int64_t filter_block() const { return words_ * 3 * lanes; }

  // Chunks of rows outside, planes inside: the planes that two tiles along D share are read from memory once.
  Strip strip(int64_t index) const {
    Strip s{};
    const int64_t w = index % strips_w_ * width_;
    s.w = w + width_ <= y_.w ? w : y_.w - width_;
    index /= strips_w_;
    const int64_t in_chunk = index % chunk_strips_;
    index /= chunk_strips_;
    s.d = winograd_tile_start(index % tiles_d_, MD, y_.d);
    index /= tiles_d_;
    const int64_t chunks = strips_h_ / chunk_strips_;
    s.tile_h = (index % chunks * chunk_strips_ + in_chunk) * rows_;
    s.n = index / chunks;
    return s;
  }

  void run_strip(const Strip& s, const Strip& next, float* inputs) const {
    float* const products = inputs + frequencies * input_stride(1);
    transform_inputs(s, inputs, input_stride(1), 0, x_.c);
    StripProducts p(*this);
    p.next = &next;
    for (int64_t f = 0; f < frequencies; ++f) {
      for (int64_t block = 0; block < out_blocks_; ++block)
        multiply_block(p, inputs + f * input_stride(1), products + f * product_stride(1), f, block);
    }
    transform_outputs(s, products, product_stride(1), 0, out_blocks_);
  }

  // Channels [first, last). They are the innermost loop: a voxel's lines are neighbours.
  __attribute__((noinline)) void transform_inputs(const Strip& s, float* inputs, int64_t stride,
                                                  int64_t first, int64_t last) const {
    const int64_t stride_d = x_.stride_d, stride_h = x_.stride_h;
    for (int64_t r = 0; r < rows_; ++r) {
      const TileStart start = winograd_tile_start(s.tile_h + r, MH, y_.h);
      const float* voxel = x_.at(s.n, s.d.begin - 1, start.begin - 1, s.w - 1);
      for (int64_t w = 0; w < width_ + 2; ++w, voxel += x_.stride_w) {
        for (int64_t c = first; c < last; c += lanes) {
          const float* in = voxel + c;
          const int64_t word = bfloat16 ? c / 2 : c;
          float* out = inputs + (word / channel_block * rows_ + r) * input_row() + w * position_words() +
                       word % channel_block;
          transform_tile<InputTransform, MD, MH>(
              [&](int d, int h)
                  __attribute__((always_inline)) { return load(in + d * stride_d + h * stride_h); },
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
    const Strip* next = nullptr;  ///< whose inputs are asked for, or else
    int64_t calls = 0;
    Lines rest{};  ///< in as many calls as are left
    int64_t calls_left = 0;

    explicit StripProducts(const WinogradCorrelation& c) {
      taps.add(0, 0);
      a.x_stride_w = c.position_words(), a.x_stride_row = c.input_row();
      a.x_stride_block = c.rows_ * c.input_row();
      a.channels = c.words_, a.taps = &taps, a.all_taps = 1, a.bias = zeros;
      a.y_stride_w = lanes, a.y_stride_row = c.width_ * lanes, a.out_channels = lanes;
    }
    Lines some_ahead() {
      const Lines some{rest.data, rest.step, rest.count / calls_left};
      rest.data += some.count * rest.step, rest.count -= some.count, --calls_left;
      return some;
    }
    StripProducts(const StripProducts&) = delete;
    StripProducts& operator=(const StripProducts&) = delete;
  };

  // One strip's products of a frequency for one block of outputs.
  void multiply_block(StripProducts& p, const float* inputs, float* products, int64_t f,
                      int64_t block) const {
    TileArguments& a = p.a;
    a.weights = filters_ + f * filter_stride(out_blocks_, words_) + block * filter_block();
    for (int64_t r = 0; r < rows_; r += tile_.rows) {
      for (int64_t w = 0; w < width_; w += tile_.width) {
        const int64_t first = w + tile_.width <= width_ ? w : width_ - tile_.width;
        a.x = inputs + r * input_row() + first * position_words();
        a.y = products + block * product_block() + (r * width_ + first) * lanes;
        a.ahead = p.next != nullptr ? row_ahead(*p.next, p.calls++) : p.some_ahead();
        tile_.run(a);
      }
    }
  }

  // A row of the next strip's inputs for each product until all are asked for. The planes that it shares
  // with the strip one tile before it along D are in the cache already.
  Lines row_ahead(const Strip& next, int64_t index) const {
    const int64_t h = winograd_tile_start(next.tile_h, MH, y_.h).begin,
                  rows = winograd_tile_start(next.tile_h + rows_ - 1, MH, y_.h).begin + MH + 2 - h,
                  first_plane = next.d.begin == 0 ? 0 : 2 + next.d.done;
    if (index >= (MD + 2 - first_plane) * rows) return {};
    const float* const data =
        x_.at(next.n, next.d.begin - 1 + first_plane + index / rows, h - 1 + index % rows, next.w - 1);
    if (x_.stride_w == x_.c) return {data, channel_block, (width_ + 2) * x_.c / channel_block};
    return {data, x_.stride_w, width_ + 2};
  }

  // Blocks [first_block, last_block).
  __attribute__((noinline)) void transform_outputs(const Strip& s, const float* products, int64_t stride,
                                                   int64_t first_block, int64_t last_block) const {
    with_activation(epilogue_.kind, [&](auto act) {
      for (int64_t block = first_block; block < last_block; ++block)
        transform_block(s, products + block * product_block(), stride, block, act);
    });
    if (streamed_) finish_streaming();
  }

  template <class Act>
  void transform_block(const Strip& s, const float* products, int64_t stride, int64_t block, Act act) const {
    const Vec bias = load(epilogue_.bias + block * lanes);
    const Vec slope = epilogue_.slope != nullptr ? load(epilogue_.slope + block * lanes) : Vec{};
    for (int64_t r = 0; r < rows_; ++r) {
      const float* in = products + r * width_ * lanes;
      const TileStart start = winograd_tile_start(s.tile_h + r, MH, y_.h);
      float* out = y_.at(s.n, s.d.begin, start.begin, s.w) + block * lanes;
      const auto transform_row = [&](const auto& has) {
        for (int64_t w = 0; w < width_; ++w, in += lanes, out += y_.stride_w) {
          transform_tile<OutputTransform, MD, MH>(
              [&](int d, int h)
                  __attribute__((always_inline)) { return load(in + (d * (MH + 2) + h) * stride); },
              [&](int d, int h, Vec v) __attribute__((always_inline)) {
                if (!has(d, h)) return;
                float* const p = out + d * y_.stride_d + h * y_.stride_h;
                const Vec result = act.value(v + bias, slope);
                streamed_ ? stream(p, result) : store(p, result);
              });
        }
      };
      // Which outputs the tile before has not.
      if (s.d.done == 0 && start.done == 0) {
        transform_row([](int, int) __attribute__((always_inline)) { return true; });
      } else {
        transform_row([&](int d, int h)
                          __attribute__((always_inline)) { return d >= s.d.done && h >= start.done; });
      }
    }
  }

  View<float> y_;
  View<const float> x_;
  const float* filters_;
  PackedEpilogue epilogue_;
  int64_t tiles_d_;
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
  return tile.frequencies() * filter_stride(weights.out_blocks(), weights.inputs());
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
