// Forward: each piece of a sample sums its tiles in float vectors, goes on in double every few tiles, and the
// pieces are added in order. Backward: the few slopes first, then one pass that recomputes the activation.
#include "kernels/dice/dice_impl.h"
#include "kernels/softmax/softmax_tile.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// Tiles summed in float before the sums go on in double.
constexpr int64_t tiles_in_float = 64;

// x[c] = the prediction for the logits x[c].
template <int Channels>
VG_INLINE void activate(Vec* x, int64_t channels, DiceActivation activation) {
  if (activation == DiceActivation::softmax) return softmax_tile<Channels>(x, channels);
  if (activation == DiceActivation::none) return;
#pragma GCC unroll 4
  for (int64_t c = 0; c < (Channels > 0 ? Channels : channels); ++c) x[c] = sigmoid(x[c]);
}

// t[c] = the target of channel c: 1 or 0.
template <int Channels>
VG_INLINE void load_targets(Vec* t, const View<const uint8_t>& labels, const TilePosition& at,
                            int64_t channels, int64_t count) {
  const uint8_t* const p = at.in(labels);
  const bool indices = labels.c != channels;
  const VecInt label = indices ? load_bytes(p, labels.stride_w, count) : VecInt{};
#pragma GCC unroll 4
  for (int64_t c = 0; c < (Channels > 0 ? Channels : channels); ++c) {
    const VecInt hit =
        indices ? label == static_cast<int32_t>(c) : load_bytes(p + c, labels.stride_w, count) > 0;
    t[c] = hit ? broadcast(1.0f) : Vec{};
  }
}

// Adds a tile to sums[3 * channels].
template <int Channels>
VG_INLINE void add_tile(Vec* sums, const Vec* p, const Vec* t, int64_t channels, bool squared,
                        int64_t count) {
#pragma GCC unroll 4
  for (int64_t c = 0; c < (Channels > 0 ? Channels : channels); ++c) {
    const Vec valid = count == lanes ? p[c] : keep_first(p[c], count);
    Vec* const sum = sums + c * dice_sum_count;
    sum[intersection_sum] += valid * t[c];
    sum[prediction_sum] += squared ? valid * valid : valid;
    sum[target_sum] += t[c];
  }
}

}  // namespace

void dice_forward(float* loss, float* sums, View<const float> logits, View<const uint8_t> labels,
                  const float* class_weights, const DiceParams& params, const Exec& exec) {
  const DiceShape shape{logits.n, logits.c, params};
  const int64_t c = logits.c, results = c * dice_sum_count;
  join_rows(logits, labels);
  WorkspaceScope scope(*exec.workspace);
  const int64_t pieces = pieces_of_sample(logits);
  double* const partials = scope.allocate<double>(static_cast<size_t>(logits.n * pieces * results));

  for_each_piece(logits, 2 + dice_sum_count, exec, [&](auto channels, Vec* scratch, int64_t piece) {
    constexpr int known = decltype(channels)::value;
    Vec local[known > 0 ? known * (2 + dice_sum_count) : 1];
    Vec *const p = known > 0 ? local : scratch, *const t = p + c, *const in_float = t + c;
    double* const total = partials + piece * results;
    for (int64_t i = 0; i < results; ++i) total[i] = 0, in_float[i] = Vec{};
    const auto flush = [&] {
      for (int64_t i = 0; i < results; ++i) total[i] += sum_in_double(in_float[i]), in_float[i] = Vec{};
    };
    int64_t tiles = 0;
    for_each_tile(logits, piece, [&](const TilePosition& at, int64_t count) {
      load_tile<known>(p, at.in(logits), logits.stride_w, c, count);
      activate<known>(p, c, shape.activation());
      load_targets<known>(t, labels, at, c, count);
      add_tile<known>(in_float, p, t, c, params.squared_prediction, count);
      if (++tiles % tiles_in_float == 0) flush();
    });
    flush();
  });

  for (int64_t i = 0; i < logits.n * results; ++i) {
    double total = 0;
    for (int64_t piece = 0; piece < pieces; ++piece)
      total += partials[(i / results * pieces + piece) * results + i % results];
    sums[i] = static_cast<float>(total);
  }
  dice_reduce(loss, shape, sums, class_weights);
}

void dice_backward(View<float> dlogits, const float* dloss, const float* sums, View<const float> logits,
                   View<const uint8_t> labels, const float* class_weights, const DiceParams& params,
                   const Exec& exec) {
  const DiceShape shape{logits.n, logits.c, params};
  const int64_t c = logits.c;
  WorkspaceScope scope(*exec.workspace);
  DiceSlopes* const slopes = scope.allocate<DiceSlopes>(static_cast<size_t>(logits.n * c));
  for (int64_t i = 0; i < logits.n * c; ++i)
    slopes[i] = dice_slopes(shape, dloss, sums, class_weights, i / c, i % c);

  join_rows(dlogits, logits, labels);
  const DiceActivation activation = shape.activation();
  for_each_piece(logits, 2, exec, [&](auto channels, Vec* scratch, int64_t piece) {
    constexpr int known = decltype(channels)::value;
    Vec local[known > 0 ? 2 * known : 1];
    Vec *const p = known > 0 ? local : scratch, *const gradient = p + c;
    const DiceSlopes* const slope = slopes + piece / pieces_of_sample(logits) * c;
    for_each_tile(logits, piece, [&](const TilePosition& at, int64_t count) {
      load_tile<known>(p, at.in(logits), logits.stride_w, c, count);
      activate<known>(p, c, activation);
      load_targets<known>(gradient, labels, at, c, count);
#pragma GCC unroll 4
      for (int64_t i = 0; i < (known > 0 ? known : c); ++i) {
        const Vec of_prediction =
            params.squared_prediction ? slope[i].of_prediction * p[i] : broadcast(slope[i].of_prediction);
        gradient[i] = slope[i].of_target * gradient[i] + of_prediction;
        if (activation == DiceActivation::sigmoid) gradient[i] *= p[i] * (1.0f - p[i]);
      }
      if (activation == DiceActivation::softmax) softmax_gradient_tile<known>(gradient, p, c);
      store_tile<known>(at.in(dlogits), dlogits.stride_w, gradient, c, count);
    });
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
