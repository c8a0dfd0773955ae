// Rung 3 on CUDA: a tile in shared memory. A block computes 16 voxels x 16 output channels, a thread one of
// these 256 outputs. For a tap and 16 input channels it first brings 16 x 16 inputs and 16 x 16 weights into
// shared memory, one of each a thread, and every value is then used by 16 threads: a sixteenth of the global
// loads.
//
//   inputs [voxel][i]      weights [i][o]         thread (voxel, o): sum += inputs[voxel][i] * weights[i][o]
//
// What holds it back: two loads an FMA as before, from shared memory now. That is nearer, but it answers one
// request of a warp a cycle, and a multiprocessor could start four FMAs of a warp in that time.
#include "bench/ladder/conv3d/packing.h"
#include "bench/ladder/conv3d/rungs.h"
#include "bench/ladder/conv3d/tiles.cuh"

namespace vg::ladder::cuda {

using namespace kernels::cuda;

namespace {

constexpr int voxels = 16, channels = 16;

__global__ void __launch_bounds__(256)
    shared_tile_kernel(View<float> y, View<const float> x, const float* packed, Tiling t) {
  __shared__ float inputs[voxels][channels], weights[channels][channels];
  const TileOrigin at = tile_origin(t);
  const int o = static_cast<int>(threadIdx.x) % channels, v = static_cast<int>(threadIdx.x) / channels;
  float sum = 0;
  for (int tap = 0; tap < 27; ++tap) {
    const int d = at.d + tap / 9 - 1, h = at.h + tap / 3 % 3 - 1, w = at.w + v + tap % 3 - 1;
    for (int64_t first = 0; first < x.c; first += channels) {
      inputs[v][o] = inside(x, d, h, w) ? x.at(at.n, d, h, w)[first + o] : 0.0f;
      weights[v][o] = packed[(tap * x.c + first + v) * y.c + at.o + o];
      __syncthreads();  // the tile is complete
#pragma unroll
      for (int i = 0; i < channels; ++i) sum += inputs[v][i] * weights[i][o];
      __syncthreads();  // nobody reads it any more
    }
  }
  if (at.w + v < y.w) y.at(at.n, at.d, at.h, at.w + v)[at.o + o] = sum;
}

}  // namespace

void shared_tile(View<float> y, View<const float> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  float* const packed = scope.allocate<float>(static_cast<size_t>(27 * x.c * y.c));
  pack_taps(packed, weight, x.c, y.c, exec);
  const Tiling t = tiling(y, 1, 1, voxels, channels);
  shared_tile_kernel<<<blocks_for(t.blocks, 1), 256, 0, stream_of(exec)>>>(y, x, packed, t);
  check_launch();
}

}  // namespace vg::ladder::cuda
