// Gradient of the weights of a convolution of float activations on tensor cores in TF32: for one tap a matrix
// product over the positions of dy, dw[i][o] = sum over v of x[stride v + offset][i] dy[v][o]. With stride 1,
// kernel 3 and padding 1 the three taps kw are shifts of the same rows of x, see conv3d_gemm_tile.h.
// Positions are cut into pieces; a second pass adds their partial sums in order.
#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_tf32_tile.h"

namespace vg::kernels::cuda {

namespace {

constexpr int positions = Tf32WgradTile::positions, warps = Tf32WgradTile::warps,
              threads = Tf32WgradTile::threads, ring = Tf32WgradTile::ring, warp_rows = positions / warps;

template <int Taps, int XWidth, int DyWidth>
struct Tile {
  static constexpr Tf32WgradTile shape{Taps, XWidth, DyWidth};
  static constexpr int taps = Taps, x_width = XWidth, dy_width = DyWidth, x_channels = shape.x_channels(),
                       dy_channels = shape.dy_channels(), x_chunks = x_channels / 4,
                       dy_chunks = dy_channels / 4, x_bytes = shape.x_bytes(), dy_bytes = shape.dy_bytes();
  using Sums = float[Taps][XWidth / 2][DyWidth][4];
};

// Positions as coordinates: `pitch` along W (with the column of zeros), extents, and `positions` steps on.
struct Axes {
  int count, pitch, height, depth;
  int step_w, step_h, step_d, step_n;
};

struct Problem {
  View<const float> dy, x;
  Axes axes;
  float* partials;  ///< [piece][tap][output channel][input channel]
  int kernel_size, stride, padding;
  int stages, pieces;
  int in_blocks, out_blocks;
};

// A lane follows one row of the stages through the positions, and says where in its view the voxel lies that
// position * stride + shift is. With three taps the stride is 1 and both views have the same extents.
template <int Taps>
struct RowCursor {
  int position, w, h, d;  ///< w, h, d of the position
  int offset;             ///< of the voxel from the view's data
  int stride, shift_w, shift_h, shift_d;
  int extent_w, extent_h, extent_d;
  int carry_h, carry_d, carry_n, step_offset;

  __device__ __forceinline__ RowCursor(const View<const float>& v, const Axes& axes, int of_stride, int first,
                                       int of_d, int of_h, int of_w)
      : position(first),
        stride(Taps == 3 ? 1 : of_stride),
        shift_w(Taps == 3 ? 0 : of_w),
        shift_h(of_h),
        shift_d(of_d),
        extent_w(Taps == 3 ? axes.pitch - 1 : static_cast<int>(v.w)),
        extent_h(Taps == 3 ? axes.height : static_cast<int>(v.h)),
        extent_d(Taps == 3 ? axes.depth : static_cast<int>(v.d)) {
    const int stride_w = stride * static_cast<int>(v.stride_w),
              stride_h = stride * static_cast<int>(v.stride_h),
              stride_d = stride * static_cast<int>(v.stride_d), stride_n = static_cast<int>(v.stride_n);
    carry_h = stride_h - axes.pitch * stride_w, carry_d = stride_d - axes.height * stride_h,
    carry_n = stride_n - axes.depth * stride_d;
    step_offset =
        axes.step_w * stride_w + axes.step_h * stride_h + axes.step_d * stride_d + axes.step_n * stride_n;
    // The position before the first one is the last of a sample before the first.
    const int from = position + axes.pitch * axes.height * axes.depth;
    w = from % axes.pitch, h = from / axes.pitch % axes.height,
    d = from / axes.pitch / axes.height % axes.depth;
    offset = w * stride_w + h * stride_h + d * stride_d +
             (from / axes.pitch / axes.height / axes.depth - 1) * stride_n +
             shift_w * static_cast<int>(v.stride_w) + shift_h * static_cast<int>(v.stride_h) +
             shift_d * static_cast<int>(v.stride_d);
  }

  // The voxel's offset, or -1 for zeros.
  __device__ __forceinline__ int source(const Axes& axes) const {
    const auto inside = [&](int at, int shift, int extent) {
      return static_cast<unsigned>(at * stride + shift) < static_cast<unsigned>(extent);
    };
    return position < axes.count && inside(w, shift_w, extent_w) && inside(h, shift_h, extent_h) &&
                   inside(d, shift_d, extent_d)
               ? offset
               : -1;
  }
  __device__ __forceinline__ void advance(const Axes& axes) {
    position += positions, w += axes.step_w, h += axes.step_h, d += axes.step_d, offset += step_offset;
    if (w >= axes.pitch) w -= axes.pitch, ++h, offset += carry_h;
    if (h >= axes.height) h -= axes.height, ++d, offset += carry_d;
    if (d >= axes.depth) d -= axes.depth, offset += carry_n;
  }
};

// Copies the rows of one operand that a warp brings; `to` is where its first row begins, `data` the block's
// first channel. `source` is what the lanes' cursors say, those of this operand's rows from lane `first_lane`
// on.
template <int Chunks, int Rows>
__device__ __forceinline__ void copy_rows(uint32_t to, const float* data, int source, int first_lane,
                                          int64_t channels_left) {
  const int lane = static_cast<int>(threadIdx.x) % 32, chunk = lane % Chunks;
#pragma unroll
  for (int first = 0; first < Rows; first += 32 / Chunks) {
    const int row = first + lane / Chunks;
    const int offset = __shfl_sync(0xFFFFFFFFu, source, first_lane + row);
    const bool inside = offset >= 0 && chunk * 4 < channels_left;
    if (row < Rows)
      ptx::copy_16_async(to + static_cast<uint32_t>(tf32_wgrad_offset(Chunks, row, chunk)),
                         data + (inside ? offset + chunk * 4 : 0), inside);
  }
}

// Width neighbouring channels of a voxel, rounded.
template <int Width>
__device__ __forceinline__ void load_channels(uint32_t (&r)[Width], uint32_t address) {
  if constexpr (Width == 4) {
    ptx::load_shared_16(r, address);
  } else {
    ptx::load_shared_8(r, address);
  }
#pragma unroll
  for (int i = 0; i < Width; ++i) r[i] = ptx::round_tf32(r[i]);
}

// The lane's place in a row whose Width * 8 channels its warp loads.
template <int Width>
__device__ __forceinline__ uint32_t lane_offset(int row) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  constexpr int chunks = 2 * Width;
  if constexpr (Width == 4) return static_cast<uint32_t>(tf32_wgrad_offset(chunks, row, g));
  return static_cast<uint32_t>(tf32_wgrad_offset(chunks, row, g / 2) + g % 2 * 8);
}

// sums += the warp's 16 positions of a stage. `x` are the lane's addresses by tap, `dy` likewise.
template <class T>
__device__ __forceinline__ void multiply_stage(typename T::Sums& sums, const uint32_t (&x)[T::taps],
                                               uint32_t x_stage, uint32_t dy) {
  constexpr int x_row = T::x_channels * 4, dy_row = T::dy_channels * 4;
#pragma unroll 1
  for (int first = 0; first < warp_rows; first += 8) {
    uint32_t b[2][T::dy_width];
#pragma unroll
    for (int k = 0; k < 2; ++k) load_channels(b[k], dy + (first + k * 4) * dy_row);
#pragma unroll
    for (int tap = 0; tap < T::taps; ++tap) {
      uint32_t a[2][T::x_width];
#pragma unroll
      for (int k = 0; k < 2; ++k) load_channels(a[k], x[tap] + x_stage + (first + k * 4) * x_row);
#pragma unroll
      for (int i = 0; i < T::x_width / 2; ++i) {
        const uint32_t fragment[4] = {a[0][2 * i], a[0][2 * i + 1], a[1][2 * i], a[1][2 * i + 1]};
#pragma unroll
        for (int j = 0; j < T::dy_width; ++j)
          ptx::mma_m16n8k8_tf32(sums[tap][i][j], fragment, b[0][j], b[1][j]);
      }
    }
  }
}

// Adds the warps' sums in order, in shared memory as [tap][output channel][input channel], and stores them to
// the block's part of the piece, whose taps are `pairs` apart: runs of input channels.
template <class T>
__device__ __forceinline__ void store_sums(float* partial, float* shared, const typename T::Sums& sums,
                                           int64_t pairs, int64_t in_channels, int64_t ins, int64_t outs) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, g = lane / 4, q = lane % 4;
  for (int turn = 0; turn < warps; ++turn) {
    __syncthreads();
    if (thread / 32 != turn) continue;
#pragma unroll
    for (int tap = 0; tap < T::taps; ++tap) {
#pragma unroll
      for (int i = 0; i < T::x_width / 2; ++i) {
#pragma unroll
        for (int j = 0; j < T::dy_width; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int in = T::x_width * g + 2 * i + e / 2, out = T::dy_width * (2 * q + e % 2) + j;
            float& sum = shared[(tap * T::dy_channels + out) * T::x_channels + in];
            sum = sums[tap][i][j][e] + (turn == 0 ? 0.0f : sum);
          }
        }
      }
    }
  }
  __syncthreads();
  for (int i = thread; i < T::shape.sums(); i += threads) {
    const int in = i % T::x_channels, out = i / T::x_channels % T::dy_channels,
              tap = i / T::x_channels / T::dy_channels;
    if (in < ins && out < outs) partial[tap * pairs + out * in_channels + in] = shared[i];
  }
}

template <class T>
__global__ void __launch_bounds__(threads, 3) tf32_wgrad_kernel(Problem p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t x_stages = ptx::shared_address(shared_memory), dy_stages = x_stages + ring * T::x_bytes;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  // Blocks that share their positions run at the same time and find them in the second-level cache.
  const int k = p.kernel_size, planes = k * k * k / T::taps, volume = planes * T::taps;
  int rest = static_cast<int>(blockIdx.x);
  const int plane = rest % planes;
  rest /= planes;
  const int64_t in_first = rest % p.in_blocks * T::x_channels;
  rest /= p.in_blocks;
  const int64_t out_first = rest % p.out_blocks * T::dy_channels;
  const int piece = rest / p.out_blocks;
  const int begin = static_cast<int>(int64_t{p.stages} * piece / p.pieces),
            end = static_cast<int>(int64_t{p.stages} * (piece + 1) / p.pieces);
  const unsigned steps = static_cast<unsigned>(end - begin);
  const int first_tap = plane * T::taps, kd = first_tap / k / k, kh = first_tap / k % k, kw = first_tap % k;

  // The first half of a warp follows rows of x, the other half rows of dy. With three taps, row r of x is the
  // position before row r of dy, and the tap kw takes row r + kw.
  const bool of_x = lane < 16;
  constexpr int middle = T::taps / 2;
  const int row = begin * positions + warp * warp_rows + lane % 16;
  using Cursor = RowCursor<T::taps>;
  Cursor cursor = of_x ? Cursor(p.x, p.axes, p.stride, row - middle, kd - p.padding, kh - p.padding,
                                T::taps == 3 ? 0 : kw - p.padding)
                       : Cursor(p.dy, p.axes, 1, row, 0, 0, 0);
  const float *const x = p.x.data + in_first, *const dy = p.dy.data + out_first;
  const auto copy = [&](unsigned step) {
    if (step < steps) {
      const uint32_t to_x = x_stages + step % ring * T::x_bytes,
                     to_dy = dy_stages + step % ring * T::dy_bytes;
      const int source = cursor.source(p.axes);
      copy_rows<T::x_chunks, warp_rows>(to_x + warp * warp_rows * T::x_channels * 4, x, source, 0,
                                        p.x.c - in_first);
      copy_rows<T::dy_chunks, warp_rows>(to_dy + warp * warp_rows * T::dy_channels * 4, dy, source, 16,
                                         p.dy.c - out_first);
      cursor.advance(p.axes);
      // The last taps of the last rows take the first rows of the stage after this one.
      if (T::taps > 1 && warp == 0)
        copy_rows<T::x_chunks, T::taps - 1>(to_x + positions * T::x_channels * 4, x, cursor.source(p.axes), 0,
                                            p.x.c - in_first);
    }
    ptx::commit_copies();
  };
#pragma unroll
  for (unsigned step = 0; step < ring - 1; ++step) copy(step);

  const int q = lane % 4;
  uint32_t x_lane[T::taps];
#pragma unroll
  for (int tap = 0; tap < T::taps; ++tap)
    x_lane[tap] = x_stages + lane_offset<T::x_width>(warp * warp_rows + q + tap);
  const uint32_t dy_lane = dy_stages + lane_offset<T::dy_width>(warp * warp_rows + q);
  typename T::Sums sums = {};
#pragma unroll 1
  for (unsigned step = 0; step < steps; ++step) {
    ptx::wait_copies<ring - 2>();
    __syncthreads();  // this stage is there, and the one that the next copies replace is done with
    copy(step + ring - 1);
    multiply_stage<T>(sums, x_lane, step % ring * T::x_bytes, dy_lane + step % ring * T::dy_bytes);
  }
  ptx::wait_copies<0>();
  const int64_t pairs = p.dy.c * p.x.c;
  store_sums<T>(p.partials + (int64_t{piece} * volume + first_tap) * pairs + out_first * p.x.c + in_first,
                reinterpret_cast<float*>(shared_memory), sums, pairs, p.x.c, p.x.c - in_first,
                p.dy.c - out_first);
}

template <class T>
void launch(float* dweight, Problem p, int64_t pieces, const Exec& exec) {
  const auto divide_up = [](int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); };
  const int volume = p.kernel_size * p.kernel_size * p.kernel_size, planes = volume / T::taps,
            width = static_cast<int>(p.dy.w), pitch = width + T::taps / 2, height = static_cast<int>(p.dy.h),
            depth = static_cast<int>(p.dy.d), count = static_cast<int>(p.dy.rows()) * pitch;
  p.axes = {count,
            pitch,
            height,
            depth,
            positions % pitch,
            positions / pitch % height,
            positions / pitch / height % depth,
            positions / pitch / height / depth};
  p.in_blocks = divide_up(p.x.c, T::x_channels);
  p.out_blocks = divide_up(p.dy.c, T::dy_channels);
  p.stages = divide_up(count, positions);
  const int blocks = planes * p.in_blocks * p.out_blocks;
  // Cut as for 128 multiprocessors of three blocks, whatever the device has: the same bits. Adding and
  // storing a block's sums takes the time of about ten stages, its first copies two.
  constexpr int64_t resident = 384, start = 12;
  if (pieces == 0) pieces = gemm_pieces(blocks, p.stages, resident, start, 0);
  p.pieces = static_cast<int>(pieces);
  const int64_t pairs = p.dy.c * p.x.c;
  WorkspaceScope scope(*exec.workspace);
  p.partials = scope.allocate<float>(static_cast<size_t>(pieces * volume * pairs));
  constexpr int shared_bytes = T::shape.shared_bytes();
  // More than 48 KiB must be asked for; tf32_applies() has seen that the device has it.
  check_cuda(
      cudaFuncSetAttribute(tf32_wgrad_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  tf32_wgrad_kernel<T><<<blocks_for(pieces * blocks, 1), threads, shared_bytes, stream_of(exec)>>>(p);
  check_launch();
  accumulate_taps(dweight, p.partials, pairs, volume, pieces, exec);
}

}  // namespace

void conv3d_backward_weight_tf32(float* dweight, View<const float> dy, View<const float> x,
                                 const Conv3dParams& params, const Exec& exec, int64_t pieces) {
  if (dy.elements() == 0) return;
  const Problem p{.dy = dy,
                  .x = x,
                  .axes = {},
                  .partials = nullptr,
                  .kernel_size = params.kernel_size,
                  .stride = params.stride,
                  .padding = params.padding,
                  .stages = 0,
                  .pieces = 0,
                  .in_blocks = 0,
                  .out_blocks = 0};
  const auto with = [&]<int Taps>() {
    const bool narrow_x = x.c <= 16, narrow_dy = dy.c <= 16;
    if (narrow_x && narrow_dy) return launch<Tile<Taps, 2, 2>>(dweight, p, pieces, exec);
    if (narrow_x) return launch<Tile<Taps, 2, 4>>(dweight, p, pieces, exec);
    if (narrow_dy) return launch<Tile<Taps, 4, 2>>(dweight, p, pieces, exec);
    launch<Tile<Taps, 4, 4>>(dweight, p, pieces, exec);
  };
  if (params.kernel_size == 3 && params.stride == 1 && params.padding == 1)
    return with.template operator()<3>();
  with.template operator()<1>();
}

}  // namespace vg::kernels::cuda
