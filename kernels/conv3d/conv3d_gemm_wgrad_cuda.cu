// Gradient of the weights of a convolution of stride 1 that keeps the extents (kernel 3, padding 1; kernel
// 1) on tensor cores, for wide layers: for one tap a matrix product over positions (conv3d_gemm_tile.h),
// dw[i][o] = sum over p of x[p + tap][i] dy[p][o]. A block takes 64 input and 64 output channels of one
// (kd, kh) and all kw, which are shifts of the same rows of x. Positions are cut into pieces; a second pass
// adds their partial sums in order.
#include "kernels/common/check.h"
#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"

namespace vg::kernels::cuda {

namespace {

constexpr int channels = GemmWgradTile::channels, positions = GemmWgradTile::positions,
              threads = GemmWgradTile::threads, ring = GemmWgradTile::ring,
              stage_bytes = GemmWgradTile::stage_bytes, row_bytes = channels * 2,
              warp_rows = positions / GemmWgradTile::warps, parts = positions / 16,
              fragments = channels / 8;  // of 8 output channels
static_assert(GemmWgradTile::warps * 16 == channels && warp_rows % 4 == 0 && warp_rows <= 16);

// Positions as coordinates: `pitch` along W (with the column of zeros), extents, and `positions` steps on.
struct Axes {
  int count, width, pitch, height, depth;
  int step_w, step_h, step_d, step_n;
};

struct Problem {
  View<const bfloat16> dy, x;
  Axes axes;
  float* partials;  ///< [piece][tap][output channel][input channel]
  int stages, pieces;
  int in_blocks, out_blocks;  ///< of 64 channels
};

// A lane follows one row of the stages through the positions: the first half of a warp rows of x, the other
// half those of dy. Row r of x is the position before row r of dy, so that the tap kw takes row r + kw.
template <int KernelSize>
struct RowCursor {
  int position, w, h, d;  ///< d and h of the voxel that the tap (kd, kh) takes; for dy of the voxel itself
  int offset;             ///< of that voxel from the view's data
  int carry_h, carry_d, carry_n, step_offset;
  int shift_h, shift_d;  ///< kh, kd for x, 0 for dy, less the middle one

  __device__ __forceinline__ RowCursor(const View<const bfloat16>& v, const Axes& axes, int first, int of_d,
                                       int of_h)
      : position(first), shift_h(of_h), shift_d(of_d) {
    const int stride_w = static_cast<int>(v.stride_w), stride_h = static_cast<int>(v.stride_h),
              stride_d = static_cast<int>(v.stride_d), stride_n = static_cast<int>(v.stride_n);
    carry_h = stride_h - axes.pitch * stride_w, carry_d = stride_d - axes.height * stride_h,
    carry_n = stride_n - axes.depth * stride_d;
    step_offset =
        axes.step_w * stride_w + axes.step_h * stride_h + axes.step_d * stride_d + axes.step_n * stride_n;
    // The position before the first one is the last of a sample before the first.
    const int from = position + axes.pitch * axes.height * axes.depth;
    w = from % axes.pitch, h = from / axes.pitch % axes.height,
    d = from / axes.pitch / axes.height % axes.depth;
    offset = w * stride_w + (h + shift_h) * stride_h + (d + shift_d) * stride_d +
             (from / axes.pitch / axes.height / axes.depth - 1) * stride_n;
  }

  // The voxel's offset, or -1 for zeros.
  __device__ __forceinline__ int source(const Axes& axes) const {
    if constexpr (KernelSize == 1) return position < axes.count ? offset : -1;
    const bool inside = position < axes.count && w < axes.width &&
                        static_cast<unsigned>(h + shift_h) < static_cast<unsigned>(axes.height) &&
                        static_cast<unsigned>(d + shift_d) < static_cast<unsigned>(axes.depth);
    return inside ? offset : -1;
  }
  __device__ __forceinline__ void advance(const Axes& axes) {
    position += positions, w += axes.step_w, h += axes.step_h, d += axes.step_d, offset += step_offset;
    if (w >= axes.pitch) w -= axes.pitch, ++h, offset += carry_h;
    if (h >= axes.height) h -= axes.height, ++d, offset += carry_d;
    if (d >= axes.depth) d -= axes.depth, offset += carry_n;
  }
};

// Copies the rows of one operand that a warp brings to `to`, the lane's place in the first four of them;
// `source` is what the lanes' cursors say, those of this operand's rows from lane `first_lane` on. Eight
// lanes take the 64 channels of a row, as far as they exist.
__device__ __forceinline__ void copy_rows(uint32_t to, const bfloat16* data, int source, int first_lane,
                                          bool channel_inside) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < warp_rows / 4; ++i) {
    const int offset = __shfl_sync(0xFFFFFFFFu, source, first_lane + i * 4 + lane / 8);
    const bool inside = offset >= 0 && channel_inside;
    // Four rows on, the swizzle's key differs by 4.
    ptx::copy_16_async((to ^ i % 2 << 6) + i * 4 * row_bytes, data + (inside ? offset : 0), inside);
  }
}

// Stores a warp's sums of one tap: the eight lanes of a column write neighbouring input channels, a sector.
__device__ __forceinline__ void store_sums(float* partial, int64_t in_channels, int64_t out_channels,
                                           int64_t in_first, int64_t out_first,
                                           const float (&sums)[fragments][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4;
  if (in_first >= in_channels) return;
#pragma unroll
  for (int j = 0; j < fragments; ++j) {
    if (out_first + j * 8 >= out_channels) break;
#pragma unroll
    for (int e = 0; e < 4; ++e)
      partial[(out_first + j * 8 + 2 * q + e % 2) * in_channels + in_first + g + e / 2 * 8] = sums[j][e];
  }
}

template <int KernelSize>
__global__ void __launch_bounds__(threads, 3) gemm_wgrad_kernel(Problem p) {
  constexpr int planes = KernelSize * KernelSize, middle = KernelSize / 2;
  __shared__ __align__(128) unsigned char shared_memory[GemmWgradTile::shared_bytes];
  const uint32_t x_stages = ptx::shared_address(shared_memory), dy_stages = x_stages + ring * stage_bytes;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  // Blocks that share their positions run at the same time and find them in the second-level cache.
  int rest = static_cast<int>(blockIdx.x);
  const int plane = rest % planes;
  rest /= planes;
  const int in_first = rest % p.in_blocks * channels;
  rest /= p.in_blocks;
  const int out_first = rest % p.out_blocks * channels, piece = rest / p.out_blocks;
  const int begin = static_cast<int>(int64_t{p.stages} * piece / p.pieces),
            end = static_cast<int>(int64_t{p.stages} * (piece + 1) / p.pieces);
  const unsigned steps = static_cast<unsigned>(end - begin);

  const bool of_x = lane < 16;
  RowCursor<KernelSize> cursor(of_x ? p.x : p.dy, p.axes,
                               begin * positions + warp * warp_rows + lane % 16 - (of_x ? middle : 0),
                               of_x ? plane / 3 - middle : 0, of_x ? plane % 3 - middle : 0);
  const int chunk = lane % 8;
  const bool in_inside = in_first + chunk * 8 < p.x.c, out_inside = out_first + chunk * 8 < p.dy.c;
  const bfloat16* const x = p.x.data + (in_inside ? in_first + chunk * 8 : 0);
  const bfloat16* const dy = p.dy.data + (out_inside ? out_first + chunk * 8 : 0);
  const uint32_t copy_to = gemm_offset(8, warp * warp_rows + lane / 8, chunk);
  // Copies the next stage to its place in the rings. With kernel 3 the last tap of a stage's last rows takes
  // the first rows of x of the stage after it, which is copied too.
  const auto copy = [&](unsigned step) {
    if (step < steps + middle) {
      const int source = cursor.source(p.axes);
      const uint32_t to = copy_to + step % ring * stage_bytes;
      copy_rows(x_stages + to, x, source, 0, in_inside);
      copy_rows(dy_stages + to, dy, source, 16, out_inside);
      cursor.advance(p.axes);
    }
    ptx::commit_copies();
  };
#pragma unroll
  for (unsigned step = 0; step < ring - 1; ++step) copy(step);

  // A lane's row of x and dy in 16 positions, see load_matrix_x4_transposed(): matrices (positions 0-7;
  // channels 0-7, 8-15), (8-15; the same) for A, (channels 0-7; positions 0-7, 8-15), (8-15; the same) for B.
  const int x_row = lane / 16 * 8 + lane % 8;
  uint32_t x_lane[KernelSize];
#pragma unroll
  for (int kw = 0; kw < KernelSize; ++kw)
    x_lane[kw] = x_stages + gemm_offset(8, x_row + kw, 2 * warp + lane / 8 % 2);
  const uint32_t dy_lane = dy_stages + gemm_offset(8, lane / 8 % 2 * 8 + lane % 8, lane / 16);
  float sums[KernelSize][fragments][4] = {};
#pragma unroll 1
  for (unsigned step = 0; step < steps; ++step) {
    ptx::wait_copies<ring - 2 - middle>();
    __syncthreads();  // this stage is there, with kernel 3 the next one too; the one before is done with
    copy(step + ring - 1);
    const uint32_t slot = step % ring * stage_bytes,
                   next = (step + 1) % ring * stage_bytes - stage_bytes;  // as if it followed this one
#pragma unroll
    for (int part = 0; part < parts; ++part) {
      uint32_t a[KernelSize][4], b[fragments / 2][4];
#pragma unroll
      for (int j = 0; j < fragments / 2; ++j)
        ptx::load_matrix_x4_transposed(b[j], ((dy_lane + slot) ^ j << 5) + part * 16 * row_bytes);
#pragma unroll
      for (int kw = 0; kw < KernelSize; ++kw) {
        const bool beyond = kw > 0 && part == parts - 1 && x_row + kw >= 16;
        ptx::load_matrix_x4_transposed(a[kw], x_lane[kw] + (beyond ? next : slot) + part * 16 * row_bytes);
      }
#pragma unroll
      for (int kw = 0; kw < KernelSize; ++kw) {
#pragma unroll
        for (int j = 0; j < fragments; ++j)
          ptx::mma_m16n8k16(sums[kw][j], a[kw], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
  ptx::wait_copies<0>();
  const int64_t pairs = p.dy.c * p.x.c, tap = (int64_t{piece} * planes + plane) * KernelSize;
#pragma unroll
  for (int kw = 0; kw < KernelSize; ++kw)
    store_sums(p.partials + (tap + kw) * pairs, p.x.c, p.dy.c, in_first + warp * 16, out_first, sums[kw]);
}

constexpr int sum_pairs = 32, sum_slices = block_threads / sum_pairs;

// A thread takes a pair of channels and every eighth tap; through shared memory the block's pairs are stored
// as the run that they are.
template <int taps>
__global__ void __launch_bounds__(block_threads)
    accumulate_taps_kernel(float* dweight, const float* partials, int64_t pairs, int64_t pieces) {
  constexpr int turns = (taps + sum_slices - 1) / sum_slices;
  __shared__ float shared[sum_pairs * taps];
  const int lane = static_cast<int>(threadIdx.x) % sum_pairs,
            slice = static_cast<int>(threadIdx.x) / sum_pairs;
  const int64_t first = int64_t{blockIdx.x} * sum_pairs;
  double sums[turns] = {};
  if (first + lane < pairs) {
    for (int64_t piece = 0; piece < pieces; ++piece) {
#pragma unroll
      for (int turn = 0; turn < turns; ++turn) {
        const int tap = slice + turn * sum_slices;
        if (tap < taps) sums[turn] += partials[(piece * taps + tap) * pairs + first + lane];
      }
    }
  }
#pragma unroll
  for (int turn = 0; turn < turns; ++turn) {
    const int tap = slice + turn * sum_slices;
    if (tap < taps) shared[lane * taps + tap] = static_cast<float>(sums[turn]);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < sum_pairs * taps; i += block_threads) {
    if (first * taps + i < pairs * taps) dweight[first * taps + i] += shared[i];
  }
}

template <int KernelSize>
void launch(float* dweight, const View<const bfloat16>& dy, const View<const bfloat16>& x, const Exec& exec,
            int64_t pieces) {
  constexpr int planes = KernelSize * KernelSize, taps = planes * KernelSize;
  const auto divide_up = [](int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); };
  const int in_blocks = divide_up(x.c, channels), out_blocks = divide_up(dy.c, channels),
            blocks = planes * in_blocks * out_blocks,
            stages = divide_up(gemm_positions(dy, KernelSize), positions);
  // Cut as for 128 multiprocessors of three blocks, whatever the device has: the same bits. Storing and
  // adding a block's sums, 48 KiB each way, takes the time of about eight stages, its first copies three.
  constexpr int64_t resident = 384, start = 11;
  if (pieces == 0) pieces = gemm_pieces(blocks, stages, resident, start, 0);

  const int width = static_cast<int>(dy.w), pitch = width + KernelSize / 2, height = static_cast<int>(dy.h),
            depth = static_cast<int>(dy.d);
  const Axes axes{static_cast<int>(gemm_positions(dy, KernelSize)),
                  width,
                  pitch,
                  height,
                  depth,
                  positions % pitch,
                  positions / pitch % height,
                  positions / pitch / height % depth,
                  positions / pitch / height / depth};
  const int64_t count = dy.c * x.c * taps;
  WorkspaceScope scope(*exec.workspace);
  float* const partials = scope.allocate<float>(static_cast<size_t>(pieces * count));
  gemm_wgrad_kernel<KernelSize><<<blocks_for(pieces * blocks, 1), threads, 0, stream_of(exec)>>>(
      {dy, x, axes, partials, stages, static_cast<int>(pieces), in_blocks, out_blocks});
  check_launch();
  accumulate_taps(dweight, partials, dy.c * x.c, taps, pieces, exec);
}

}  // namespace

void accumulate_taps(float* dweight, const float* partials, int64_t pairs, int64_t taps, int64_t pieces,
                     const Exec& exec) {
  if (taps == 1) return accumulate_pieces(dweight, partials, pairs, pieces, exec);
  require(taps == 8 || taps == 27, "accumulate_taps: ", taps, " taps, expected 1, 8 or 27");
  const auto kernel = taps == 8 ? accumulate_taps_kernel<8> : accumulate_taps_kernel<27>;
  kernel<<<blocks_for(pairs, sum_pairs), block_threads, 0, stream_of(exec)>>>(dweight, partials, pairs,
                                                                              pieces);
  check_launch();
}

void conv3d_backward_weight_gemm(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                 const Conv3dParams& params, const Exec& exec, int64_t pieces) {
  if (dy.elements() == 0) return;
  if (params.kernel_size == 3) return launch<3>(dweight, dy, x, exec, pieces);
  launch<1>(dweight, dy, x, exec, pieces);
}

}  // namespace vg::kernels::cuda
