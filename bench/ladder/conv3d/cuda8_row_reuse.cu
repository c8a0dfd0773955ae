// Rung 8 on CUDA: fewer loads of A, none of which collide, and whole sectors out. Three ideas that fit
// together, on rung 6's march:
//
// 1. Reuse over kh. Let the 16 voxels of A be 8 along W of row h and 8 of row h + 8. Row r of the input, so
//    loaded, is what output row r needs for kh = 0, row r - 1 for kh = 1 and row r - 2 for kh = 2: one
//    ldmatrix feeds six mma. 10 loads of A and 3 of B for 48 mma, where rung 7 took 30 for 48.
//
//      input row   0 1 2 3 4 5 6 7 8 9      output row 0 takes rows 0 1 2, row 1 takes 1 2 3, ...
//
// 2. Swizzle. The two halves of a voxel (16 bytes each) change places where bit 2 of its column w is set.
//    Eight neighbouring voxels then lie in eight different groups of four banks, from any first column:
//
//      w            0    1    2    3    4    5    6    7
//      plain        0    2    4    6    0    2    4    6     group of four banks of the first half: twice
//      swizzled     0    2    4    6    1    3    5    7     each once
//
// 3. The order of B's columns is ours to choose: with channels 4 q to 4 q + 3 in a lane it stores 8 bytes,
//    four lanes a voxel's whole sector.
//
// 16 input channels, as in rung 6. The product (kernels/conv3d/conv3d_halo_cuda.cu) is this kernel with tiles
// for 16 to 64 channels, weights that pass through in pieces, and the norm before and after it.
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

// Four warps, two by two, of 16 x 8 voxels each.
constexpr int threads = 128, warp_rows = 8, height = 32, width = 16, rows = height + 2, columns = width + 2,
              ring = 3, march = 16, channels = 16, voxel_bytes = channels * 2,
              row_bytes = columns * voxel_bytes, plane_bytes = rows * row_bytes,
              tap_bytes = fragment_words * 4, shared_bytes = ring * plane_bytes + 27 * tap_bytes;

// Where half `half` of a voxel lies in a plane.
__device__ __forceinline__ uint32_t offset_of(int row, int column, int half) {
  return row * row_bytes + column * voxel_bytes + (half ^ (column >> 2 & 1)) * 16;
}

__device__ void copy_plane(uint32_t plane, const View<const bfloat16>& x, const TileOrigin& at, int d) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * columns * 2; i += threads) {
    const int row = i / 2 / columns, column = i / 2 % columns, h = at.h + row - 1, w = at.w + column - 1;
    ptx::copy_16_async(plane + offset_of(row, column, i % 2), x.at(at.n, d, h, w) + i % 2 * 8,
                       inside(x, d, h, w));
  }
}

// sums += the nine taps of one plane of the input.
__device__ __forceinline__ void multiply_plane(float (&sums)[warp_rows][2][4], const uint32_t (&inputs)[3],
                                               uint32_t plane, uint32_t weights) {
#pragma unroll
  for (int kw = 0; kw < 3; ++kw) {
    uint32_t b[3][4];
#pragma unroll
    for (int kh = 0; kh < 3; ++kh) ptx::load_shared_16(b[kh], weights + (kh * 3 + kw) * tap_bytes);
#pragma unroll
    for (int row = 0; row < warp_rows + 2; ++row) {
      uint32_t a[4];
      ptx::load_matrix_x4(a, inputs[kw] + plane + row * row_bytes);
#pragma unroll
      for (int kh = 0; kh < 3; ++kh) {
        if (row - kh < 0 || row - kh >= warp_rows) continue;
        ptx::mma_m16n8k16(sums[row - kh][0], a, b[kh][0], b[kh][1]);
        ptx::mma_m16n8k16(sums[row - kh][1], a, b[kh][2], b[kh][3]);
      }
    }
  }
}

__global__ void __launch_bounds__(threads, 2)
    row_reuse_kernel(View<bfloat16> y, View<const bfloat16> x, const uint32_t* packed, Tiling t) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t planes = ptx::shared_address(shared_memory), weights = planes + ring * plane_bytes;
  const TileOrigin at = tile_origin(t);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, g = lane / 4, q = lane % 4,
            warp_h = thread / 64 * 2 * warp_rows, warp_w = thread / 32 % 2 * 8;
  const uint32_t* const fragments = packed + at.o / channels * 27 * fragment_words;
  for (int i = thread; i < 27 * tap_bytes / 16; i += threads)
    ptx::copy_16_async(weights + i * 16, fragments + i * 4, true);
  for (int p = 0; p < ring; ++p) copy_plane(planes + p * plane_bytes, x, at, at.d - 1 + p);
  ptx::commit_copies();
  ptx::wait_copies<0>();
  __syncthreads();

  // Lanes 0-7 and 8-15 give ldmatrix the voxels of the upper and the lower row, first half; the others the
  // second. Rows are multiples of row_bytes from here: the swizzle knows columns alone.
  uint32_t inputs[3];
#pragma unroll
  for (int kw = 0; kw < 3; ++kw)
    inputs[kw] = planes + offset_of(warp_h + lane / 8 % 2 * warp_rows, warp_w + lane % 8 + kw, lane / 16);

  const int steps = min(march, static_cast<int>(y.d) - at.d);
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    float sums[warp_rows][2][4] = {};
#pragma unroll 1
    for (int kd = 0; kd < 3; ++kd) {
      if (kd == 1) {  // as in rung 6
        ptx::wait_copies<0>();
        __syncthreads();
        if (step + 1 < steps) copy_plane(planes + step % ring * plane_bytes, x, at, at.d + step + 2);
        ptx::commit_copies();
      }
      multiply_plane(sums, inputs, (step + kd) % ring * plane_bytes,
                     weights + kd * 9 * tap_bytes + lane * 16);
    }
#pragma unroll
    for (int row = 0; row < warp_rows; ++row) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int d = at.d + step, h = at.h + warp_h + row + half * warp_rows, w = at.w + warp_w + g;
        if (!inside(y, d, h, w)) continue;
        ptx::store_global_8(y.at(at.n, d, h, w) + at.o + 4 * q,
                            ptx::pack_bfloat16(sums[row][0][2 * half], sums[row][0][2 * half + 1]),
                            ptx::pack_bfloat16(sums[row][1][2 * half], sums[row][1][2 * half + 1]));
      }
    }
  }
}

}  // namespace

void row_reuse(View<bfloat16> y, View<const bfloat16> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  uint32_t* const packed = scope.allocate<uint32_t>(static_cast<size_t>(27 * x.c * y.c / 2));
  pack_fragments(packed, weight, x.c, y.c, ColumnOrder::by_lane, exec);
  kernels::check_cuda(
      cudaFuncSetAttribute(row_reuse_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const Tiling t = tiling(y, march, height, width, channels);
  row_reuse_kernel<<<blocks_for(t.blocks, 1), threads, shared_bytes, stream_of(exec)>>>(y, x, packed, t);
  check_launch();
}

}  // namespace vg::ladder::cuda
