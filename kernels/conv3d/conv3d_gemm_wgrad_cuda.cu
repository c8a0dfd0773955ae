// Gradient of the weights of a convolution of stride 1 that keeps the extents (kernel 3, padding 1; kernel
// 1) on tensor cores, for wide layers, with kernel 3 for rows longer than conv3d_gemm_wgrad_plane_cuda.cu
// takes: for one tap a matrix product over positions (conv3d_gemm_tile.h),
// dw[i][o] = sum over p of x[p + tap][i] dy[p][o]. A block takes 64 input and 64 output channels of one
// (kd, kh) and all kw, which are shifts of the same rows of x. Positions are cut into pieces; a second pass
// adds their partial sums in order.
#include "kernels/common/check.h"
#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/integer.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/common/voxel_pointer.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"
#include "kernels/conv3d/conv3d_gemm_wgrad.cuh"
#include "kernels/elementwise/elementwise.h"

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

// What of a stage a warp copies, kernel 3: a lane follows one row of the stages through the positions, the
// first half of a warp rows of x, the other half those of dy. Row r of x is the position before row r of dy,
// so that the tap kw takes row r + kw.
class PaddedRows {
 public:
  __device__ __forceinline__ PaddedRows(const Problem& p, int x_channel, int dy_channel, int first,
                                        int plane) {
    constexpr int middle = 1;
    const Axes& axes = p.axes;
    const int chunk = static_cast<int>(threadIdx.x) % 8;
    x_inside_ = x_channel + chunk * 8 < static_cast<int>(p.x.c),
    dy_inside_ = dy_channel + chunk * 8 < static_cast<int>(p.dy.c);
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const bool of_x = lane < 16;
    const View<const bfloat16>& v = of_x ? p.x : p.dy;
    const int shift_d = of_x ? plane / 3 - middle : 0, shift_h = of_x ? plane % 3 - middle : 0;
    const int stride_w = static_cast<int>(v.stride_w), stride_h = static_cast<int>(v.stride_h),
              stride_d = static_cast<int>(v.stride_d), stride_n = static_cast<int>(v.stride_n);
    position_ = first + lane % 16 - (of_x ? middle : 0);
    carry_h_ = stride_h - axes.pitch * stride_w, carry_d_ = stride_d - axes.height * stride_h,
    carry_n_ = stride_n - axes.depth * stride_d;
    step_offset_ =
        axes.step_w * stride_w + axes.step_h * stride_h + axes.step_d * stride_d + axes.step_n * stride_n;
    // The position before the first one is the last of a sample before the first.
    const int from = position_ + axes.pitch * axes.height * axes.depth;
    w_ = from % axes.pitch, h_ = from / axes.pitch % axes.height + shift_h,
    d_ = from / axes.pitch / axes.height % axes.depth + shift_d;
    end_h_ = axes.height + shift_h, end_d_ = axes.depth + shift_d;
    offset_ = w_ * stride_w + h_ * stride_h + d_ * stride_d +
              (from / axes.pitch / axes.height / axes.depth - 1) * stride_n + (of_x ? x_channel : dy_channel);
  }

  // Copies the rows to the lane's place in the first four of them, and goes on to the next stage.
  __device__ __forceinline__ void copy(const Problem& p, uint32_t x_to, uint32_t dy_to) {
    const Axes& axes = p.axes;
    const bool inside = position_ < axes.count && w_ < axes.width &&
                        static_cast<unsigned>(h_) < static_cast<unsigned>(axes.height) &&
                        static_cast<unsigned>(d_) < static_cast<unsigned>(axes.depth);
    const int source = inside ? offset_ : nowhere;
    copy_rows(x_to, p.x.data, source, 0, x_inside_);
    copy_rows(dy_to, p.dy.data, source, 16, dy_inside_);
    position_ += positions, w_ += axes.step_w, h_ += axes.step_h, d_ += axes.step_d, offset_ += step_offset_;
    if (w_ >= axes.pitch) w_ -= axes.pitch, ++h_, offset_ += carry_h_;
    if (h_ >= end_h_) h_ -= axes.height, ++d_, offset_ += carry_d_;
    if (d_ >= end_d_) d_ -= axes.depth, offset_ += carry_n_;
  }

 private:
  static constexpr int nowhere = -8;  // a multiple of 16 bytes too, though nothing is read there

  // Eight lanes take the 64 channels of a row, as far as they exist.
  __device__ __forceinline__ static void copy_rows(uint32_t to, const bfloat16* data, int source,
                                                   int first_lane, bool channel_inside) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < warp_rows / 4; ++i) {
      const int offset = __shfl_sync(0xFFFFFFFFu, source, first_lane + i * 4 + lane / 8);
      // Four rows on, the swizzle's key differs by 4.
      ptx::copy_16_async((to ^ i % 2 << 6) + i * 4 * row_bytes, data + (offset + lane % 8 * 8),
                         offset >= 0 && channel_inside);
    }
  }

  int position_, w_, h_, d_;  // h and d of the voxel that the tap (kd, kh) takes; for dy of the voxel itself
  int end_h_, end_d_;         // where they go on with the next plane and sample
  int offset_;                // of that voxel and the block's first channel from the view's data
  int carry_h_, carry_d_, carry_n_, step_offset_;
  bool x_inside_, dy_inside_;  // the channels that this lane copies
};

// The same for kernel 1, where positions are voxels, and one stride leads from voxel to voxel.
class VoxelRows {
 public:
  __device__ __forceinline__ VoxelRows(const Problem& p, int x_channel, int dy_channel, int first, int)
      : x_left_(x_channel + lane_channel() < static_cast<int>(p.x.c) ? p.axes.count - first - lane_row() : 0),
        dy_left_(dy_channel + lane_channel() < static_cast<int>(p.dy.c) ? p.axes.count - first - lane_row()
                                                                        : 0),
        x_stride_(static_cast<int>(p.x.stride_w)),
        dy_stride_(static_cast<int>(p.dy.stride_w)),
        x_(p.x.data + int64_t{first + lane_row()} * x_stride_ + x_channel + lane_channel()),
        dy_(p.dy.data + int64_t{first + lane_row()} * dy_stride_ + dy_channel + lane_channel()) {}

  __device__ __forceinline__ void copy(const Problem&, uint32_t x_to, uint32_t dy_to) {
#pragma unroll
    for (int i = 0; i < warp_rows / 4; ++i) {
      ptx::copy_16_async((x_to ^ i % 2 << 6) + i * 4 * row_bytes, at(x_, i * 4 * x_stride_), i * 4 < x_left_);
      ptx::copy_16_async((dy_to ^ i % 2 << 6) + i * 4 * row_bytes, at(dy_, i * 4 * dy_stride_),
                         i * 4 < dy_left_);
    }
    x_left_ -= positions, dy_left_ -= positions;
    x_ = at(x_, positions * x_stride_), dy_ = at(dy_, positions * dy_stride_);
  }

 private:
  // One instruction for an addition of 64 bits.
  __device__ __forceinline__ static const bfloat16* at(const bfloat16* from, int offset) {
    return reinterpret_cast<const bfloat16*>(
        ptx::multiply_add_wide(offset, 2, reinterpret_cast<int64_t>(from)));
  }
  __device__ __forceinline__ static int lane_row() {
    return static_cast<int>(threadIdx.x) % 32 / 8;
  }

  __device__ __forceinline__ static int lane_channel() {
    return static_cast<int>(threadIdx.x) % 8 * 8;
  }

  int x_left_, dy_left_;  // positions ahead, none where there is no channel
  int x_stride_, dy_stride_;
  const bfloat16 *x_, *dy_;
};

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

  std::conditional_t<KernelSize == 1, VoxelRows, PaddedRows> rows(
      p, in_first, out_first, begin * positions + warp * warp_rows, plane);
  const uint32_t copy_to = gemm_offset(8, warp * warp_rows + lane / 8, lane % 8);
  // Copies the next stage to its place in the rings. With kernel 3 the last tap of a stage's last rows takes
  // the first rows of x of the stage after it, which is copied too.
  const auto copy = [&](unsigned step) {
    if (step < steps + middle) {
      const uint32_t to = copy_to + step % ring * stage_bytes;
      rows.copy(p, x_stages + to, dy_stages + to);
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
    store_wgrad_sums(p.partials + (tap + kw) * pairs, p.x.c, p.dy.c, in_first + warp * 16, out_first,
                     sums[kw]);
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

// The view, or where no one stride leads from voxel to voxel (a halo) a dense copy in scratch memory.
View<const bfloat16> with_one_stride(const View<const bfloat16>& v, WorkspaceScope& scope, const Exec& exec) {
  if (one_stride(v)) return v;
  const View<bfloat16> dense =
      contiguous_view(scope.allocate<bfloat16>(static_cast<size_t>(v.elements())), v.n, v.d, v.h, v.w, v.c);
  copy(dense, v, exec);
  return dense;
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
  if (params.kernel_size == 3 && dy.w <= GemmPlaneWgradTile::widest)
    return conv3d_backward_weight_gemm_plane(dweight, dy, x, exec, pieces);
  if (params.kernel_size == 3) return launch<3>(dweight, dy, x, exec, pieces);
  WorkspaceScope scope(*exec.workspace);
  launch<1>(dweight, with_one_stride(dy, scope, exec), with_one_stride(x, scope, exec), exec, pieces);
}

}  // namespace vg::kernels::cuda
