// As dice: pieces sum in float vectors for some tiles, then in double; backward is one pass.
#include "kernels/cross_entropy/cross_entropy_impl.h"
#include "kernels/softmax/softmax_tile.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// Tiles summed in float before the sums go on in double.
constexpr int64_t tiles_in_float = 64;

VG_INLINE VecInt is_class(VecInt label, int64_t c) {
  return label == static_cast<int32_t>(c);
}
VG_INLINE Vec weight_of(const float* class_weights, int64_t c) {
  return broadcast(class_weights == nullptr ? 1.0f : class_weights[c]);
}

}  // namespace

void cross_entropy_forward(float* loss, float* weight_sum, View<const float> logits,
                           View<const uint8_t> labels, const float* class_weights,
                           const CrossEntropyParams& params, const Exec& exec) {
  join_rows(logits, labels);
  WorkspaceScope scope(*exec.workspace);
  const int64_t pieces = logits.n * pieces_of_sample(logits);
  double* const partials = scope.allocate<double>(static_cast<size_t>(2 * pieces));

  for_each_piece(logits, 1, exec, [&](auto channels, Vec* scratch, int64_t piece) {
    constexpr int known = decltype(channels)::value;
    Vec local[known > 0 ? known : 1];
    Vec* const tile = known > 0 ? local : scratch;
    double loss_total = 0, weight_total = 0;
    Vec losses{}, weights{};
    int64_t tiles = 0;
    for_each_tile(logits, piece, [&](const TilePosition& at, int64_t count) {
      load_tile<known>(tile, at.in(logits), logits.stride_w, logits.c, count);
      const VecInt label = load_bytes(at.in(labels), labels.stride_w, count);
      Vec logit{}, weight{};
      VecInt valid{};
#pragma GCC unroll 4
      for (int64_t c = 0; c < (known > 0 ? known : logits.c); ++c) {
        const VecInt hit = is_class(label, c);
        logit = hit ? tile[c] : logit;
        weight = hit ? weight_of(class_weights, c) : weight;
        valid |= hit;
      }
      const SoftmaxStatistics s = exponentials<known>(tile, logits.c);
      losses += valid ? weight * (log(s.sum) - (logit - s.maximum)) : Vec{};
      weights += weight;
      if (++tiles % tiles_in_float == 0) {
        loss_total += sum_in_double(losses), weight_total += sum_in_double(weights);
        losses = weights = Vec{};
      }
    });
    partials[2 * piece] = loss_total + sum_in_double(losses);
    partials[2 * piece + 1] = weight_total + sum_in_double(weights);
  });

  double loss_total = 0, weight_total = 0;
  for (int64_t i = 0; i < pieces; ++i) loss_total += partials[2 * i], weight_total += partials[2 * i + 1];
  cross_entropy_finish(loss, weight_sum, loss_total, weight_total, params);
}

void cross_entropy_backward(View<float> dlogits, const float* dloss, const float* weight_sum,
                            View<const float> logits, View<const uint8_t> labels, const float* class_weights,
                            const CrossEntropyParams& params, const Exec& exec) {
  join_rows(dlogits, logits, labels);
  const float scale = params.mean ? dloss[0] / weight_sum[0] : dloss[0];
  for_each_piece(logits, 1, exec, [&](auto channels, Vec* scratch, int64_t piece) {
    constexpr int known = decltype(channels)::value;
    Vec local[known > 0 ? known : 1];
    Vec* const tile = known > 0 ? local : scratch;
    for_each_tile(logits, piece, [&](const TilePosition& at, int64_t count) {
      load_tile<known>(tile, at.in(logits), logits.stride_w, logits.c, count);
      softmax_tile<known>(tile, logits.c);
      const VecInt label = load_bytes(at.in(labels), labels.stride_w, count);
      Vec factor{};
      VecInt valid{};
#pragma GCC unroll 4
      for (int64_t c = 0; c < (known > 0 ? known : logits.c); ++c) {
        const VecInt hit = is_class(label, c);
        factor = hit ? weight_of(class_weights, c) * scale : factor;
        tile[c] = hit ? tile[c] - 1.0f : tile[c];
        valid |= hit;
      }
#pragma GCC unroll 4
      for (int64_t c = 0; c < (known > 0 ? known : logits.c); ++c) tile[c] = valid ? tile[c] * factor : Vec{};
      store_tile<known>(at.in(dlogits), dlogits.stride_w, tile, logits.c, count);
    });
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
