#include "kernels/conv3d/conv3d_pack_cpu.h"

#include "kernels/common/parallel.h"
#include "kernels/conv3d/conv3d_products_cpu.h"
#include "kernels/conv3d/conv3d_tile_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// Quarters of a vector: four floats of each of lanes / 4 rows, `stride` apart.
VG_INLINE Vec load_quarters(const float* p, int64_t stride) {
#if defined(VG_ISA_avx512) || defined(VG_ISA_avx2)
  typedef float Quarter __attribute__((vector_size(16)));
  const auto quarter = [&](int64_t i) __attribute__((always_inline)) {
    Quarter v;
    std::memcpy(&v, p + i * stride, sizeof v);
    return v;
  };
  const auto low = __builtin_shufflevector(quarter(0), quarter(1), 0, 1, 2, 3, 4, 5, 6, 7);
#if defined(VG_ISA_avx512)
  const auto high = __builtin_shufflevector(quarter(2), quarter(3), 0, 1, 2, 3, 4, 5, 6, 7);
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  return low;
#endif
#else
  (void)stride;
  return load(p);
#endif
}

// Transposes each square of four columns: element i of quarter q of row j goes to element j of quarter q of
// row i.
template <size_t... Lane>
VG_INLINE void transpose_quarters(Vec (&rows)[4], std::index_sequence<Lane...>) {
  const auto interleave = [](Vec a, Vec b, auto half) __attribute__((always_inline)) {
    return __builtin_shufflevector(a, b, (Lane / 4 * 4 + Lane % 4 / 2 + half() * 2 + Lane % 2 * lanes)...);
  };
  const auto join = [](Vec a, Vec b, auto half) __attribute__((always_inline)) {
    return __builtin_shufflevector(a, b, (Lane / 4 * 4 + Lane % 2 + half() * 2 + Lane % 4 / 2 * lanes)...);
  };
  constexpr std::integral_constant<size_t, 0> low{};
  constexpr std::integral_constant<size_t, 1> high{};
  const Vec a = interleave(rows[0], rows[1], low), b = interleave(rows[0], rows[1], high),
            c = interleave(rows[2], rows[3], low), d = interleave(rows[2], rows[3], high);
  rows[0] = join(a, c, low), rows[1] = join(a, c, high);
  rows[2] = join(b, d, low), rows[3] = join(b, d, high);
}

// Asks for the taps of one input channel, of which each row of 16 to 32 begins where one before or one of the
// next channel ends, or nearly so.
VG_INLINE void ask_for_taps(const Weights& weights, int64_t block, int64_t in) {
  const int64_t first = block * lanes, outs = weights.out - first < lanes ? weights.out - first : lanes;
  if (in >= weights.in) return;
  const float* source = weights.data + first * weights.out_stride + in * weights.in_stride;
  for (int64_t o = 0; o < outs; ++o, source += weights.out_stride) {
    __builtin_prefetch(source);
    __builtin_prefetch(source + line_floats);
  }
}

// Calls put(tap, weights of `lanes` output channels) for all `all` taps of one input channel. The taps of a
// channel pair are contiguous and the lanes of vectors are output channels: a transpose of `lanes` rows of
// taps, four at a time. Where the last four would end behind the taps they overlap those before.
template <class Put>
VG_INLINE void for_each_tap(const Weights& weights, int64_t all, int64_t block, int64_t in, const Put& put) {
  const int64_t first_out = block * lanes, stride = weights.out_stride;
  const int64_t outs = weights.out - first_out < lanes ? weights.out - first_out : lanes;
  const float* const source = weights.data + first_out * stride + in * weights.in_stride;
  const auto tap = [&](int64_t i) __attribute__((always_inline)) {
    return weights.flipped ? all - 1 - i : i;
  };
  constexpr int64_t channels_ahead = 4;
  if (all > line_floats) ask_for_taps(weights, block, in + channels_ahead);
  if (outs == lanes && all >= 4) {
#pragma GCC unroll 8
    for (int64_t next = 0; next < all; next += 4) {
      const int64_t first = next + 4 <= all ? next : all - 4;
      Vec rows[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) rows[i] = load_quarters(source + i * stride + first, 4 * stride);
      transpose_quarters(rows, std::make_index_sequence<lanes>());
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) put(tap(first + i), rows[i]);
    }
    return;
  }
  for (int64_t first = 0; first < all; first += lanes) {
    const int64_t count = all - first < lanes ? all - first : lanes;
    Vec rows[lanes];
    with_block(count, [&](const auto& columns) {
#pragma GCC unroll 16
      for (int o = 0; o < lanes; ++o)
        rows[o] = o < outs ? columns.load(source + o * weights.out_stride + first) : Vec{};
    });
    transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) {
      if (i < count) put(tap(first + i), rows[i]);
    }
  }
}

}  // namespace

void load_taps(float* taps, const Weights& weights, int64_t block, int64_t in) {
  for_each_tap(weights, weights.taps(), block, in, [&](int64_t tap, Vec v) { store(taps + tap * lanes, v); });
}

void pair_taps(float* pairs, const float* low, const float* high, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const HalfWords l = round_to_bfloat16(load(low + i * lanes)),
                    h = round_to_bfloat16(load(high + i * lanes));
    store(pairs + i * lanes,
          bits_to_float(__builtin_convertvector(l, VecInt) | __builtin_convertvector(h, VecInt) << 16));
  }
}

void add_taps(float* target, int64_t out_stride, int64_t outs, const float* taps, int64_t count) {
  for (int64_t first = 0; first < count; first += lanes) {
    Vec rows[lanes];
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) rows[i] = first + i < count ? load(taps + (first + i) * lanes) : Vec{};
    transpose(rows);
    with_block(count - first < lanes ? count - first : lanes, [&](const auto& columns) {
#pragma GCC unroll 16
      for (int o = 0; o < lanes; ++o) {
        if (o >= outs) continue;
        float* const row = target + o * out_stride + first;
        columns.store(row, columns.load(row) + rows[o]);
      }
    });
  }
}

namespace {

// `in`: an input channel, or a pair of them.
void pack_channel(float* packed_block, const Weights& weights, int64_t block, int64_t in) {
  const int64_t k = weights.kernel_size, first_in = in / channel_block * channel_block,
                left = weights.inputs() - first_in;
  const int64_t channels = left < channel_block ? left : channel_block;
  float* const packed = packed_block + first_in * weights.taps() * lanes + (in - first_in) * k * lanes;
  const auto place = [&](int64_t tap) { return packed + (tap / k * channels * k + tap % k) * lanes; };
  if (weights.bfloat16) {
    float taps[tap_floats], high[tap_floats] = {};
    load_taps(taps, weights, block, 2 * in);
    if (2 * in + 1 < weights.in) load_taps(high, weights, block, 2 * in + 1);
    pair_taps(taps, taps, high, weights.taps());
    for (int64_t tap = 0; tap < weights.taps(); ++tap) store(place(tap), load(taps + tap * lanes));
  } else if (k == 3) {
    constexpr int kernel_size = 3;
    for_each_tap(weights, 27, block, in, [&](int64_t tap, Vec v) {
      store(packed + (tap / kernel_size * channels * kernel_size + tap % kernel_size) * lanes, v);
    });
  } else {
    for_each_tap(weights, weights.taps(), block, in, [&](int64_t tap, Vec v) { store(place(tap), v); });
  }
}

}  // namespace

void pack_weights(float* packed, const Weights& weights) {
  parallel_for(weights.out_blocks() * weights.inputs(), channel_block, [&](int64_t i) {
    const int64_t block = i / weights.inputs();
    pack_channel(packed + block * weights.block_floats(), weights, block, i % weights.inputs());
  });
}

void pack_block(float* packed, const Weights& weights, int64_t block) {
  for (int64_t in = 0; in < weights.inputs(); ++in) pack_channel(packed, weights, block, in);
}

const float* packed_or_pack(const Weights& weights, WorkspaceScope& scope) {
  if (weights.packed != nullptr) return weights.packed;
  float* const packed = scope.allocate<float>(static_cast<size_t>(weights.packed_floats()));
  pack_weights(packed, weights);
  return packed;
}

PackedEpilogue pack_epilogue(const Epilogue& epilogue, int64_t channels, WorkspaceScope& scope) {
  const int64_t count = (channels + lanes - 1) / lanes * lanes;
  const auto padded = [&](const auto& value) {
    float* const packed = scope.allocate<float>(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) packed[i] = i < channels ? value(i) : 0;
    return packed;
  };
  const float* const bias = epilogue.bias;
  const OutputActivation& activation = epilogue.activation;
  PackedEpilogue packed{padded([&](int64_t i) { return bias != nullptr ? bias[i] : 0; }), nullptr,
                        activation.params.kind};
  if (packed.kind == ActivationKind::prelu) {
    packed.slope =
        padded([&](int64_t i) { return activation.slope[activation.params.slope_count == 1 ? 0 : i]; });
  } else if (packed.kind == ActivationKind::leaky_relu) {
    packed.slope = padded([&](int64_t) { return activation.params.negative_slope; });
  }
  return packed;
}

View<const float> bfloat16_pairs(View<const float> x, int padding, WorkspaceScope& scope) {
  const int64_t d = x.d + 2 * padding, h = x.h + 2 * padding, w = x.w + 2 * padding, c = (x.c + 1) / 2;
  float* const memory = scope.allocate<float>(static_cast<size_t>(x.n * d * h * w * c));
  parallel_for(x.n * d * h, 8, [&](int64_t row) {
    const int64_t id = row / h % d - padding, ih = row % h - padding;
    float* out = memory + row * w * c;
    const auto zero = [&](int64_t voxels) {
      std::memset(out, 0, static_cast<size_t>(voxels * c) * sizeof(float));
      out += voxels * c;
    };
    if (id < 0 || id >= x.d || ih < 0 || ih >= x.h) return zero(w);
    zero(padding);
    const float* in = x.at(row / h / d, id, ih);
    // Whole rows at a time where nothing lies between voxels.
    const bool run = x.rows_contiguous() && x.c % 2 == 0;
    const int64_t pieces = run ? 1 : x.w, length = run ? x.w * x.c : x.c;
    for (int64_t i = 0; i < pieces; ++i, in += x.stride_w, out += c) {
      for (int64_t j = 0; j < length; j += lanes) {
        const HalfWords words = round_to_bfloat16(load_up_to(in + j, length - j));
        const int64_t left = (length - j + 1) / 2 * static_cast<int64_t>(sizeof(float)),
                      bytes = left < static_cast<int64_t>(sizeof words) ? left : sizeof words;
        if (bytes == sizeof words) {
          std::memcpy(out + j / 2, &words, sizeof words);
        } else {
          std::memcpy(out + j / 2, &words, static_cast<size_t>(bytes));
        }
      }
    }
    if (run) out += (x.w - 1) * c;
    zero(padding);
  });
  View<const float> result = contiguous_view<const float>(memory, x.n, d, h, w, c);
  result.data = result.at(0, padding, padding, padding);
  result.d = x.d, result.h = x.h, result.w = x.w, result.halo = padding;
  return result;
}

View<const float> with_halo(View<const float> x, int padding, WorkspaceScope& scope) {
  if (x.halo >= padding) return x;
  const int64_t d = x.d + 2 * padding, h = x.h + 2 * padding, w = x.w + 2 * padding;
  float* const memory = scope.allocate<float>(static_cast<size_t>(x.n * d * h * w * x.c));
  const size_t row_bytes = static_cast<size_t>(w * x.c) * sizeof(float),
               edge_bytes = static_cast<size_t>(padding * x.c) * sizeof(float),
               voxel_bytes = static_cast<size_t>(x.c) * sizeof(float);
  parallel_for(x.n * d * h, 8, [&](int64_t row) {
    const int64_t id = row / h % d - padding, ih = row % h - padding;
    float* out = memory + row * w * x.c;
    if (id < 0 || id >= x.d || ih < 0 || ih >= x.h) {
      std::memset(out, 0, row_bytes);
      return;
    }
    std::memset(out, 0, edge_bytes);
    out += padding * x.c;
    const float* in = x.at(row / h / d, id, ih);
    if (x.rows_contiguous()) {
      std::memcpy(out, in, voxel_bytes * static_cast<size_t>(x.w));
    } else {
      for (int64_t i = 0; i < x.w; ++i) std::memcpy(out + i * x.c, in + i * x.stride_w, voxel_bytes);
    }
    std::memset(out + x.w * x.c, 0, edge_bytes);
  });
  View<const float> result = contiguous_view<const float>(memory, x.n, d, h, w, x.c);
  result.data = result.at(0, padding, padding, padding);
  result.d = x.d, result.h = x.h, result.w = x.w, result.halo = padding;
  return result;
}

}  // namespace vg::kernels::cpu::VG_ISA
