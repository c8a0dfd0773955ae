// Rung 7 on CUDA: tensor cores. One instruction of a warp, mma.m16n8k16, multiplies a 16 x 16 matrix A by a
// 16 x 8 matrix B and adds to 16 x 8 sums: 2048 FMAs, where an FMA instruction of a warp does 32. Operands
// are bfloat16 (half the bytes, 8 bits of mantissa), sums stay float.
//
//   A: 16 voxels along W x 16 input channels       B: 16 input channels x 8 output channels of one tap
//
// The tile is rung 5's: 4 x 4 x 16 outputs, 6 x 6 x 18 inputs. A warp takes a plane: four rows of 16 voxels x
// 16 channels, 32 sums a lane. For a tap it loads B (both halves, 16 bytes a lane, packed in the order of the
// lanes) once and A for each row by ldmatrix, which hands every lane the elements that mma wants from it.
//
// What holds it back: five loads for eight mma, and the loads collide. A voxel's 16 channels are 32 bytes, so
// the eight rows that ldmatrix reads at a time, 16 bytes each, lie 32 bytes apart: rows r and r + 4 fall into
// the same banks. And a lane's sums are pairs of channels: it stores 4 bytes here and 4 bytes there, and half
// of each sector it touches is another instruction's.
#include "bench/ladder/conv3d/packing.h"
#include "bench/ladder/conv3d/rungs.h"
#include "bench/ladder/conv3d/tiles.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"

namespace vg::ladder::cuda {

using namespace kernels::cuda;
namespace ptx = kernels::ptx;

namespace {

constexpr int threads = 128, depth = 4, height = 4, width = 16, rows = height + 2, columns = width + 2,
              tile_voxels = (depth + 2) * rows * columns, channels = 16, voxel_bytes = channels * 2,
              tap_bytes = fragment_words * 4;

struct Shared {
  unsigned char inputs[tile_voxels * voxel_bytes];
  unsigned char weights[27 * tap_bytes];
};

__global__ void __launch_bounds__(threads)
    tensor_core_kernel(View<bfloat16> y, View<const bfloat16> x, const uint32_t* packed, Tiling t) {
  __shared__ __align__(16) Shared shared;
  const TileOrigin at = tile_origin(t);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, g = lane / 4, q = lane % 4,
            warp = thread / 32;
  const uint32_t inputs = ptx::shared_address(shared.inputs), weights = ptx::shared_address(shared.weights);
  // ldmatrix reads four 8 x 8 matrices: lane l gives the address of row l % 8 of matrix l / 8. They are
  // voxels 0-7 and 8-15 of the first eight channels, then of the second eight.
  const uint32_t lane_inputs = inputs + (warp * rows * columns + lane % 16) * voxel_bytes + lane / 16 * 16;
  float sums[height][2][4] = {};
  for (int64_t first = 0; first < x.c; first += channels) {
    for (int i = thread; i < tile_voxels * 2; i += threads) {
      const int v = i / 2, d = at.d + v / (rows * columns) - 1, h = at.h + v / columns % rows - 1,
                w = at.w + v % columns - 1;
      ptx::copy_16_async(inputs + i * 16, x.at(at.n, d, h, w) + first + i % 2 * 8, inside(x, d, h, w));
    }
    const uint32_t* const fragments = packed + (at.o * x.c + first * channels) / 256 * 27 * fragment_words;
    for (int i = thread; i < 27 * tap_bytes / 16; i += threads)
      ptx::copy_16_async(weights + i * 16, fragments + i * 4, true);
    ptx::commit_copies();
    ptx::wait_copies<0>();
    __syncthreads();
#pragma unroll 3
    for (int tap = 0; tap < 27; ++tap) {
      const int offset = (tap / 9 * rows + tap / 3 % 3) * columns + tap % 3;
      uint32_t b[4];
      ptx::load_shared_16(b, weights + tap * tap_bytes + lane * 16);
#pragma unroll
      for (int row = 0; row < height; ++row) {
        uint32_t a[4];
        ptx::load_matrix_x4(a, lane_inputs + (offset + row * columns) * voxel_bytes);
        ptx::mma_m16n8k16(sums[row][0], a, b[0], b[1]);
        ptx::mma_m16n8k16(sums[row][1], a, b[2], b[3]);
      }
    }
    __syncthreads();
  }
  // Sums 0, 1 of a lane are channels 2 q, 2 q + 1 of voxel g, sums 2, 3 of voxel g + 8.
#pragma unroll
  for (int row = 0; row < height; ++row) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int d = at.d + warp, h = at.h + row, w = at.w + g + 8 * half;
      if (!inside(y, d, h, w)) continue;
      bfloat16* const to = y.at(at.n, d, h, w) + at.o + 2 * q;
#pragma unroll
      for (int fragment = 0; fragment < 2; ++fragment)
        *reinterpret_cast<uint32_t*>(to + 8 * fragment) =
            ptx::pack_bfloat16(sums[row][fragment][2 * half], sums[row][fragment][2 * half + 1]);
    }
  }
}

}  // namespace

void tensor_cores(View<bfloat16> y, View<const bfloat16> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  uint32_t* const packed = scope.allocate<uint32_t>(static_cast<size_t>(27 * x.c * y.c / 2));
  pack_fragments(packed, weight, x.c, y.c, ColumnOrder::natural, exec);
  const Tiling t = tiling(y, depth, height, width, channels);
  tensor_core_kernel<<<blocks_for(t.blocks, 1), threads, 0, stream_of(exec)>>>(y, x, packed, t);
  check_launch();
}

}  // namespace vg::ladder::cuda
