// Rung 4 on CUDA: a tile of sums in registers. A thread computes 8 voxels x 4 output channels: a value read
// from shared memory is used 4 times (an input) or 8 times (a weight). Four input channels at a time, 8 + 4
// loads of 16 bytes feed 128 FMAs, where rung 3 took 256 loads.
//
// A block of 128 threads takes 4 x 4 x 16 voxels (D, H, W) x 16 channels. Thread t has channels 4 (t % 4) to
// 4 (t % 4) + 3 of the voxels t / 4 + 32 j, j < 8: the lanes of a warp read 8 neighbouring voxels.
//
// What holds it back: each tap brings its own 256 voxels, nearly the same ones as the tap before. The input
// is read 27 times, and every copy costs an address and a comparison with the volume's edges.
#include "bench/ladder/conv3d/packing.h"
#include "bench/ladder/conv3d/rungs.h"
#include "bench/ladder/conv3d/tiles.cuh"

namespace vg::ladder::cuda {

using namespace kernels::cuda;

namespace {

constexpr int threads = 128, depth = 4, height = 4, width = 16, voxels = depth * height * width,
              channels = 16, chunks = channels / 4, voxels_a_thread = 8;

__global__ void __launch_bounds__(threads, 4)
    register_tile_kernel(View<float> y, View<const float> x, const float* packed, Tiling t) {
  __shared__ float4 inputs[voxels][chunks], weights[channels][chunks];
  const TileOrigin at = tile_origin(t);
  const int thread = static_cast<int>(threadIdx.x), q = thread % 4, g = thread / 4;
  float4 sums[voxels_a_thread] = {};
  for (int tap = 0; tap < 27; ++tap) {
    for (int64_t first = 0; first < x.c; first += channels) {
      // Four lanes copy a voxel's 64 bytes, 16 each.
      for (int i = thread; i < voxels * chunks; i += threads) {
        const int v = i / chunks, d = at.d + v / (height * width) + tap / 9 - 1,
                  h = at.h + v / width % height + tap / 3 % 3 - 1, w = at.w + v % width + tap % 3 - 1;
        inputs[v][i % chunks] =
            inside(x, d, h, w)
                ? *reinterpret_cast<const float4*>(x.at(at.n, d, h, w) + first + i % chunks * 4)
                : float4{};
      }
      if (thread < channels * chunks)
        weights[thread / chunks][thread % chunks] = *reinterpret_cast<const float4*>(
            packed + (tap * x.c + first + thread / chunks) * y.c + at.o + thread % chunks * 4);
      __syncthreads();
#pragma unroll
      for (int chunk = 0; chunk < chunks; ++chunk) {
        float4 w[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) w[i] = weights[chunk * 4 + i][q];
#pragma unroll
        for (int j = 0; j < voxels_a_thread; ++j) multiply_add(sums[j], inputs[g + 32 * j][chunk], w);
      }
      __syncthreads();
    }
  }
#pragma unroll
  for (int j = 0; j < voxels_a_thread; ++j) {
    const int v = g + 32 * j, d = at.d + v / (height * width), h = at.h + v / width % height,
              w = at.w + v % width;
    if (inside(y, d, h, w)) *reinterpret_cast<float4*>(y.at(at.n, d, h, w) + at.o + q * 4) = sums[j];
  }
}

}  // namespace

void register_tile(View<float> y, View<const float> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  float* const packed = scope.allocate<float>(static_cast<size_t>(27 * x.c * y.c));
  pack_taps(packed, weight, x.c, y.c, exec);
  const Tiling t = tiling(y, depth, height, width, channels);
  register_tile_kernel<<<blocks_for(t.blocks, 1), threads, 0, stream_of(exec)>>>(y, x, packed, t);
  check_launch();
}

}  // namespace vg::ladder::cuda
