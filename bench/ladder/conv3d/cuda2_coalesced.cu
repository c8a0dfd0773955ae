// Rung 2 on CUDA: the same thread an output, numbered as the memory is: output channels fastest. 16 lanes
// share a voxel: their input is one address, which the hardware reads once; their outputs are a run. The
// weights of neighbouring o must lie side by side for that, so they are packed to [tap][i][o] first.
//
// What holds it back: a load for each operand of each product. Two loads an FMA, though whole sectors now.
#include "bench/ladder/conv3d/packing.h"
#include "bench/ladder/conv3d/rungs.h"
#include "kernels/common/launch.cuh"

namespace vg::ladder::cuda {

using namespace kernels::cuda;

namespace {

__global__ void coalesced_kernel(View<float> y, View<const float> x, const float* packed) {
  const int64_t index = thread_index();
  if (index >= y.elements()) return;
  const int64_t o = index % y.c, voxel_index = index / y.c;  // the only change of order
  const int64_t w = voxel_index % y.w, h = voxel_index / y.w % y.h, d = voxel_index / (y.w * y.h) % y.d,
                n = voxel_index / (y.w * y.h * y.d);
  float sum = 0;
  for (int tap = 0; tap < 27; ++tap) {
    const int64_t zd = d + tap / 9 - 1, zh = h + tap / 3 % 3 - 1, zw = w + tap % 3 - 1;
    if (zd < 0 || zd >= x.d || zh < 0 || zh >= x.h || zw < 0 || zw >= x.w) continue;
    const float* const voxel = x.at(n, zd, zh, zw);
    const float* const weights = packed + tap * x.c * y.c + o;
    for (int64_t i = 0; i < x.c; ++i) sum += voxel[i] * weights[i * y.c];
  }
  y.at(n, d, h, w)[o] = sum;
}

}  // namespace

void coalesced(View<float> y, View<const float> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  float* const packed = scope.allocate<float>(static_cast<size_t>(27 * x.c * y.c));
  pack_taps(packed, weight, x.c, y.c, exec);
  coalesced_kernel<<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(y, x, packed);
  check_launch();
}

}  // namespace vg::ladder::cuda
