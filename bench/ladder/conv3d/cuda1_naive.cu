// Rung 1 on CUDA: a thread an output, numbered as one would write the loops: voxels fastest, one output
// channel after another. Correct on the first day.
//
// What holds it back: neighbouring lanes take neighbouring voxels, whose channel i lie a whole voxel apart
// (64 bytes with 16 channels of floats). A warp's load touches 32 sectors of 32 bytes and uses 4 bytes of
// each; its store likewise.
#include "bench/ladder/conv3d/rungs.h"
#include "kernels/common/launch.cuh"

namespace vg::ladder::cuda {

using namespace kernels::cuda;

namespace {

__global__ void naive_kernel(View<float> y, View<const float> x, const float* weight) {
  const int64_t index = thread_index();
  if (index >= y.elements()) return;
  const int64_t o = index / y.voxels(), w = index % y.w, h = index / y.w % y.h, d = index / (y.w * y.h) % y.d,
                n = index / (y.w * y.h * y.d) % y.n;
  float sum = 0;
  for (int tap = 0; tap < 27; ++tap) {
    const int64_t zd = d + tap / 9 - 1, zh = h + tap / 3 % 3 - 1, zw = w + tap % 3 - 1;
    if (zd < 0 || zd >= x.d || zh < 0 || zh >= x.h || zw < 0 || zw >= x.w) continue;
    const float* const voxel = x.at(n, zd, zh, zw);
    for (int64_t i = 0; i < x.c; ++i) sum += voxel[i] * weight[(o * x.c + i) * 27 + tap];
  }
  y.at(n, d, h, w)[o] = sum;
}

}  // namespace

void naive(View<float> y, View<const float> x, const float* weight, const Exec& exec) {
  naive_kernel<<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(y, x, weight);
  check_launch();
}

}  // namespace vg::ladder::cuda
