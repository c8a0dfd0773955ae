// Pointwise passes with a random number for every element, on CUDA.
#pragma once

#include "kernels/common/channel_shares.cuh"
#include "kernels/common/draws.h"

namespace vg::kernels::cuda {

// One thread 16 bytes, whose first element's index is a multiple of four: ten rounds of Philox serve four
// elements.
template <int Width, class Draw, class F, class Y, class... X>
__global__ void __launch_bounds__(block_threads)
    map_draws_lanes_kernel(Draw draw, F f, ShareGrid grid, VoxelIndex index, View<Y> y, View<X>... x) {
  const auto apply = [&](int64_t element, Y* out, const auto&... in) {
    Lanes<Width> values;
#pragma unroll
    for (int k = 0; k < Width; k += 4) {
      const Draw4 four = draw((element + k) / 4);
#pragma unroll
      for (int lane = 0; lane < 4; ++lane) values[k + lane] = f(four.values[lane], in[k + lane]...);
    }
    values.store(out);
  };
  const Share share = share_of_thread<Width>(grid);
  index.for_each(share, [&](const auto& place, int64_t i) {
    apply(i * y.c + share.channel, place.in(y) + share.channel,
          Lanes<Width>::load(place.in(x) + share.channel)...);
  });
}

// One thread four neighbouring elements, from element `first` (a multiple of four) on, anywhere.
template <class Draw, class F, class Y, class... X>
__global__ void __launch_bounds__(block_threads)
    map_draws_kernel(Draw draw, F f, int64_t first, Divider channels, VoxelIndex index, View<Y> y,
                     View<X>... x) {
  const int64_t begin = first + 4 * thread_index();
  if (begin >= y.elements()) return;
  const Draw4 four = draw(begin / 4);
  for (int lane = 0; lane < 4 && begin + lane < y.elements(); ++lane) {
    int64_t channel = begin + lane;
    const VoxelPlace place = index(channels.split(channel));
    place.in(y)[channel] = from_float<Y>(f(four.values[lane], to_float(place.in(x)[channel])...));
  }
}

/// y[i] = f(draw(i / 4)[i % 4], x[i]...) over all elements i in [N,D,H,W,C] order, in float.
template <class Draw, class F, class Y, class... X>
void map_draws(const Exec& exec, Draw draw, F f, const View<Y>& y, const View<X>&... x) {
  constexpr int width = lanes_of<Y, X...>;
  int64_t done = 0;
  const auto in_lanes = [&](const auto& out, const auto&... in) {
    done = out.elements();
    if (done == 0) return;
    const ShareGrid grid = share_grid(1, out.voxels(), out.c, width, 1, most_voxels_written);
    map_draws_lanes_kernel<width><<<grid.blocks(), block_threads, 0, stream_of(exec)>>>(
        draw, f, grid, VoxelIndex(out, in...), out, in...);
    check_launch();
  };
  // Views without gaps are cut anew, whatever their channels are.
  const auto cut = [](const auto& v) {
    return contiguous_view(v.data, 1, 1, 1, v.elements() / width, int64_t{width});
  };
  const bool contiguous = y.contiguous() && (x.contiguous() && ...);
  if (contiguous && takes_lanes<width>(cut(y)) && (takes_lanes<width>(cut(x)) && ...)) {
    in_lanes(cut(y), cut(x)...);
  } else if (takes_lanes<width>(y) && (takes_lanes<width>(x) && ...)) {
    in_lanes(y, x...);
  }
  if (done == y.elements()) return;
  map_draws_kernel<<<blocks_for((y.elements() - done + 3) / 4), block_threads, 0, stream_of(exec)>>>(
      draw, f, done, Divider(y.c), VoxelIndex(y, x...), y, x...);
  check_launch();
}

}  // namespace vg::kernels::cuda
