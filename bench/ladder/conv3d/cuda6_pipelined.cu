// Rung 6 on CUDA: copies that run while the block computes. The block has 16 x 16 outputs (H, W) of one plane
// and marches along D. Three planes of the input are what an output plane needs; they lie in a ring, and the
// next plane replaces the oldest as soon as the taps kd = 0 are done with it:
//
//   step i      kd = 0: plane i      barrier      kd = 1: plane i + 1      kd = 2: plane i + 2
//                                       copy of plane i + 3 to the place of plane i  - - - - - ->
//   step i + 1  kd = 0: plane i + 1  barrier (the copy has arrived)  kd = 1: ...
//
// cp.async copies from global to shared memory past the registers: the thread starts it and goes on. Along D
// each plane is now read once a march and not 1.5 times a tile; halos in H and W remain (18 x 18 for 16 x
// 16). 16 input channels alone: sums of more would have to wait for other planes.
//
// What holds it back: the FMA units, or on a GPU with 128 of them a multiprocessor shared memory, which gives
// 128 bytes a cycle: 12 loads of 16 bytes a lane for 128 FMAs. From here on only other units help.
#include "bench/ladder/conv3d/packing.h"
#include "bench/ladder/conv3d/rungs.h"
#include "bench/ladder/conv3d/tiles.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/vector_access.cuh"

namespace vg::ladder::cuda {

using namespace kernels::cuda;
namespace ptx = kernels::ptx;

namespace {

constexpr int threads = 128, height = 16, width = 16, rows = height + 2, columns = width + 2, ring = 3,
              march = 16, channels = 16, chunks = channels / 4, voxels_a_thread = 8;

struct Shared {
  float4 inputs[ring][rows * columns][chunks];
  float4 weights[27][channels][chunks];
};

// Starts the copy of plane d of the input; voxels outside become zeros.
__device__ void copy_plane(float4 (&plane)[rows * columns][chunks], const View<const float>& x,
                           const TileOrigin& at, int d) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * columns * chunks; i += threads) {
    const int v = i / chunks, h = at.h + v / columns - 1, w = at.w + v % columns - 1;
    ptx::copy_16_async(ptx::shared_address(&plane[v][i % chunks]), x.at(at.n, d, h, w) + i % chunks * 4,
                       inside(x, d, h, w));
  }
}

__global__ void __launch_bounds__(threads, 2)
    pipelined_kernel(View<float> y, View<const float> x, const float* packed, Tiling t) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Shared& shared = *reinterpret_cast<Shared*>(shared_memory);
  const TileOrigin at = tile_origin(t);
  const int thread = static_cast<int>(threadIdx.x), q = thread % 4, g = thread / 4;
  for (int i = thread; i < 27 * channels * chunks; i += threads)
    ptx::copy_16_async(ptx::shared_address(&shared.weights[0][0][0] + i),
                       packed + i / chunks * y.c + at.o + i % chunks * 4, true);
  for (int p = 0; p < ring; ++p) copy_plane(shared.inputs[p], x, at, at.d - 1 + p);
  ptx::commit_copies();
  ptx::wait_copies<0>();
  __syncthreads();

  const int planes = min(march, static_cast<int>(y.d) - at.d);
  for (int step = 0; step < planes; ++step) {
    float4 sums[voxels_a_thread] = {};
    for (int kd = 0; kd < 3; ++kd) {
      if (kd == 1) {
        ptx::wait_copies<0>();  // plane step + 2, which kd = 2 reads: this thread's part of it
        __syncthreads();        // everybody's part; and nobody reads plane `step` any more
        if (step + 1 < planes) copy_plane(shared.inputs[step % ring], x, at, at.d + step + 2);
        ptx::commit_copies();
      }
      const auto& plane = shared.inputs[(step + kd) % ring];
      for (int tap = 0; tap < 9; ++tap) {
#pragma unroll
        for (int chunk = 0; chunk < chunks; ++chunk) {
          float4 w[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) w[i] = shared.weights[kd * 9 + tap][chunk * 4 + i][q];
#pragma unroll
          for (int j = 0; j < voxels_a_thread; ++j) {
            // Output g + 32 j of the plane: row g / 16 + 2 j, column g % 16.
            const int v = (g / width + 2 * j + tap / 3) * columns + g % width + tap % 3;
            multiply_add(sums[j], plane[v][chunk], w);
          }
        }
      }
    }
#pragma unroll
    for (int j = 0; j < voxels_a_thread; ++j) {
      const int d = at.d + step, h = at.h + g / width + 2 * j, w = at.w + g % width;
      if (inside(y, d, h, w)) *reinterpret_cast<float4*>(y.at(at.n, d, h, w) + at.o + q * 4) = sums[j];
    }
  }
}

}  // namespace

void pipelined(View<float> y, View<const float> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  float* const packed = scope.allocate<float>(static_cast<size_t>(27 * x.c * y.c));
  pack_taps(packed, weight, x.c, y.c, exec);
  kernels::check_cuda(
      cudaFuncSetAttribute(pipelined_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared)));
  const Tiling t = tiling(y, march, height, width, channels);
  pipelined_kernel<<<blocks_for(t.blocks, 1), threads, sizeof(Shared), stream_of(exec)>>>(y, x, packed, t);
  check_launch();
}

}  // namespace vg::ladder::cuda
