// Pointwise passes with a random number for every element, on CUDA.
#pragma once

#include "kernels/common/draws.h"
#include "kernels/common/launch.cuh"

namespace vg::kernels::cuda {

// One thread a counter, that is four neighbouring elements: ten rounds of Philox serve all four.
template <class Draw, class F, class... X>
__global__ void map_draws_kernel(Draw draw, F f, View<float> y, View<X>... x) {
  const int64_t counter = thread_index();
  if (4 * counter >= y.elements()) return;
  const Draw4 four = draw(counter);
  for (int lane = 0; lane < 4; ++lane) {
    const int64_t i = 4 * counter + lane;
    if (i < y.elements()) *element(y, i) = f(four.values[lane], *element(x, i)...);
  }
}

/// y[i] = f(draw(i / 4)[i % 4], x[i]...) over all elements i in [N,D,H,W,C] order.
template <class Draw, class F, class... X>
void map_draws(const Exec& exec, Draw draw, F f, const View<float>& y, const View<X>&... x) {
  map_draws_kernel<<<blocks_for((y.elements() + 3) / 4), block_threads, 0, stream_of(exec)>>>(draw, f, y,
                                                                                              x...);
  check_launch();
}

}  // namespace vg::kernels::cuda
