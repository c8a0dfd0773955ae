// One pass over memory: a tile of voxels is transposed, computed channel by channel and transposed back.
#include "kernels/softmax/softmax_impl.h"
#include "kernels/softmax/softmax_tile.h"

namespace vg::kernels::cpu::VG_ISA {

void softmax_forward(View<float> y, View<const float> x, const Exec& exec) {
  join_rows(y, x);
  for_each_piece(x, 1, exec, [&](auto channels, Vec* scratch, int64_t piece) {
    constexpr int known = decltype(channels)::value;
    Vec local[known > 0 ? known : 1];
    Vec* const tile = known > 0 ? local : scratch;
    for_each_tile(x, piece, [&](const TilePosition& at, int64_t count) {
      load_tile<known>(tile, at.in(x), x.stride_w, x.c, count);
      softmax_tile<known>(tile, x.c);
      store_tile<known>(at.in(y), y.stride_w, tile, x.c, count);
    });
  });
}

void softmax_backward(View<float> dx, View<const float> dy, View<const float> y, const Exec& exec) {
  join_rows(dx, dy, y);
  for_each_piece(y, 2, exec, [&](auto channels, Vec* scratch, int64_t piece) {
    constexpr int known = decltype(channels)::value;
    Vec local[known > 0 ? 2 * known : 1];
    Vec* const gradient = known > 0 ? local : scratch;
    Vec* const probability = gradient + y.c;
    for_each_tile(y, piece, [&](const TilePosition& at, int64_t count) {
      load_tile<known>(gradient, at.in(dy), dy.stride_w, y.c, count);
      load_tile<known>(probability, at.in(y), y.stride_w, y.c, count);
      softmax_gradient_tile<known>(gradient, probability, y.c);
      store_tile<known>(at.in(dx), dx.stride_w, gradient, y.c, count);
    });
  });
}

void argmax_channels(View<uint8_t> labels, View<const float> x, const Exec& exec) {
  join_rows(labels, x);
  for_each_piece(x, 1, exec, [&](auto channels, Vec* scratch, int64_t piece) {
    constexpr int known = decltype(channels)::value;
    Vec local[known > 0 ? known : 1];
    Vec* const tile = known > 0 ? local : scratch;
    for_each_tile(x, piece, [&](const TilePosition& at, int64_t count) {
      load_tile<known>(tile, at.in(x), x.stride_w, x.c, count);
      Vec largest = tile[0];
      VecInt index{};
#pragma GCC unroll 4
      for (int64_t c = 1; c < (known > 0 ? known : x.c); ++c) {
        const VecInt better = (tile[c] > largest) | ((tile[c] != tile[c]) & (largest == largest));
        largest = better ? tile[c] : largest;
        index = better ? VecInt{} + static_cast<int32_t>(c) : index;
      }
      store_bytes(at.in(labels), labels.stride_w, index, count);
    });
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
