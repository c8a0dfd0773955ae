// Rung 5 on CUDA: a halo tile. The inputs of all 27 taps of a block's 4 x 4 x 16 outputs are the 6 x 6 x 18
// voxels around them: 648 voxels, copied once, in place of 27 x 256 = 6912. All weights (27 x 16 x 16) come
// along. A tap is now an offset into the tile, and zeros at the volume's edge were stored with it: no ifs.
//
//   a plane of the tile, seen from above      . halo    o output
//       . . . . . . . . . . . . . . . . . .
//       . o o o o o o o o o o o o o o o o .
//       . o o o o o o o o o o o o o o o o .
//       . o o o o o o o o o o o o o o o o .
//       . o o o o o o o o o o o o o o o o .
//       . . . . . . . . . . . . . . . . . .
//
// 69,120 bytes of shared memory: more than the 48 KiB that every kernel gets, so it is asked for.
//
// What holds it back: first everybody copies, then everybody multiplies, and 648 voxels for 256 outputs is
// still 2.5 times what the outputs are.
#include "bench/ladder/conv3d/packing.h"
#include "bench/ladder/conv3d/rungs.h"
#include "bench/ladder/conv3d/tiles.cuh"

namespace vg::ladder::cuda {

using namespace kernels::cuda;

namespace {

constexpr int threads = 128, depth = 4, height = 4, width = 16, rows = height + 2, columns = width + 2,
              tile_voxels = (depth + 2) * rows * columns, channels = 16, chunks = channels / 4,
              voxels_a_thread = 8;

struct Shared {
  float4 inputs[tile_voxels][chunks];
  float4 weights[27][channels][chunks];
};

__global__ void __launch_bounds__(threads)
    halo_tile_kernel(View<float> y, View<const float> x, const float* packed, Tiling t) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Shared& shared = *reinterpret_cast<Shared*>(shared_memory);
  const TileOrigin at = tile_origin(t);
  const int thread = static_cast<int>(threadIdx.x), q = thread % 4, g = thread / 4;
  float4 sums[voxels_a_thread] = {};
  for (int64_t first = 0; first < x.c; first += channels) {
    for (int i = thread; i < tile_voxels * chunks; i += threads) {
      const int v = i / chunks, d = at.d + v / (rows * columns) - 1, h = at.h + v / columns % rows - 1,
                w = at.w + v % columns - 1;
      shared.inputs[v][i % chunks] =
          inside(x, d, h, w) ? *reinterpret_cast<const float4*>(x.at(at.n, d, h, w) + first + i % chunks * 4)
                             : float4{};
    }
    for (int i = thread; i < 27 * channels * chunks; i += threads) {
      const int tap = i / (channels * chunks), channel = i / chunks % channels;
      shared.weights[tap][channel][i % chunks] = *reinterpret_cast<const float4*>(
          packed + (tap * x.c + first + channel) * y.c + at.o + i % chunks * 4);
    }
    __syncthreads();
    for (int tap = 0; tap < 27; ++tap) {
      const int offset = (tap / 9 * rows + tap / 3 % 3) * columns + tap % 3;
#pragma unroll
      for (int chunk = 0; chunk < chunks; ++chunk) {
        float4 w[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) w[i] = shared.weights[tap][chunk * 4 + i][q];
#pragma unroll
        for (int j = 0; j < voxels_a_thread; ++j) {
          // Output g + 32 j of the tile: plane j / 2, row g / 16 + 2 (j % 2), column g % 16.
          const int v = (j / 2 * rows + g / width + 2 * (j % 2)) * columns + g % width;
          multiply_add(sums[j], shared.inputs[v + offset][chunk], w);
        }
      }
    }
    __syncthreads();  // before the next 16 channels take the place of these
  }
#pragma unroll
  for (int j = 0; j < voxels_a_thread; ++j) {
    const int d = at.d + j / 2, h = at.h + g / width + 2 * (j % 2), w = at.w + g % width;
    if (inside(y, d, h, w)) *reinterpret_cast<float4*>(y.at(at.n, d, h, w) + at.o + q * 4) = sums[j];
  }
}

}  // namespace

void halo_tile(View<float> y, View<const float> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  float* const packed = scope.allocate<float>(static_cast<size_t>(27 * x.c * y.c));
  pack_taps(packed, weight, x.c, y.c, exec);
  kernels::check_cuda(
      cudaFuncSetAttribute(halo_tile_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared)));
  const Tiling t = tiling(y, depth, height, width, channels);
  halo_tile_kernel<<<blocks_for(t.blocks, 1), threads, sizeof(Shared), stream_of(exec)>>>(y, x, packed, t);
  check_launch();
}

}  // namespace vg::ladder::cuda
