// Convolution of float activations, its transpose and its input gradient on tensor cores in TF32: what is
// multiplied is rounded to 10 bits of mantissa. Matrix products as those of bfloat16 (conv3d_gemm.cuh):
// positions are the rows, output channels the columns, taps and input channels the sum. A block gathers the
// input of a tile of positions for one tap (or three) and 16 channels after another. Any kernel size, stride
// and padding are taps with offsets (conv3d_tf32_tile.h). Where positions are few the sum is cut into pieces,
// whose partial results a second pass adds in order.
#include "kernels/common/lanes.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_tf32_tile.h"

namespace vg::kernels::cuda {

namespace {

// `Taps` kw share a tile of the input: 3, or 1.
template <int Taps, int Columns>
struct Tile {
  static constexpr GemmTile shape = tf32_tile(Taps, Columns);
  static constexpr int taps = Taps, columns = Columns, positions = shape.positions(),
                       threads = GemmTile::threads, rows = shape.input_rows(), row_bytes = 64,
                       input_bytes = shape.input_bytes(), input_ring = shape.input_ring(),
                       weight_bytes = shape.weight_bytes(), weight_ring = shape.weight_ring(),
                       ahead = shape.ahead();
  static constexpr int fragment_rows = 4;  ///< of 16 positions, in a warp
  static constexpr int fragments = Columns / 8;
  static constexpr int row_step = threads / 4;  ///< rows of the input between a thread's
  static constexpr int thread_rows = (rows + row_step - 1) / row_step;
  static_assert(ahead % Taps == 0);
  using Sums = float[fragment_rows][fragments][4];
};

// Where the weight of a tap from reduced channel r to output channel o lies in `weight`.
struct WeightOrder {
  int64_t output_stride, reduced_stride;
};

struct Product {
  View<float> out;  ///< the result, or the first piece's partial results behind each other
  View<const float> in;
  const uint32_t* packed;
  const float* bias;  ///< or null; not with pieces
  int kernel_size, stride, padding;
  bool transposed;
  int chunks;  ///< of 16 input channels
  int column_blocks, position_blocks, lattices, pieces;

  // Positions are stride * position of the input, or of the output.
  __device__ int in_stride() const { return transposed ? 1 : stride; }
  __device__ Tf32Axis axis(int parity) const {
    return transposed ? tf32_transposed_axis(kernel_size, stride, padding, parity)
                      : tf32_forward_axis(kernel_size, padding);
  }
};

// --- Weights -----------------------------------------------------------------------------------------------

// packed[block of columns][tap][16 reduced channels][8 of them][pair of fragments][lane][4], rounded: b0, b1
// of the first fragment, b0, b1 of the second. A thread 16 bytes, neighbouring threads neighbouring taps,
// which lie beside each other in `weight`; zero beyond the channels.
template <class T>
__global__ void __launch_bounds__(block_threads)
    pack_tf32_kernel(uint32_t* packed, const float* weight, WeightOrder order, int64_t outputs,
                     int64_t reduced, int volume, int chunks, int64_t count) {
  const int64_t i = thread_index();
  if (i >= count) return;
  constexpr int places = T::weight_bytes / 16;
  const int tap = static_cast<int>(i % volume), place = static_cast<int>(i / volume % places),
            lane = place % 32, pair = place / 32 % (T::fragments / 2), half = place / 16 / T::fragments;
  const int64_t rest = i / volume / places, chunk = rest % chunks, block = rest / chunks;
  uint32_t words[4];
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    const int64_t o = block * T::columns + tf32_channel(pair * 2 + word / 2, lane / 4),
                  r = chunk * tf32_channels + half * 8 + word % 2 * 4 + lane % 4;
    const bool inside = o < outputs && r < reduced;
    words[word] = ptx::round_tf32(
        __float_as_uint(inside ? weight[o * order.output_stride + r * order.reduced_stride + tap] : 0.0f));
  }
  ptx::store_global_16(packed + (((block * volume + tap) * chunks + chunk) * places + place) * 4, words[0],
                       words[1], words[2], words[3]);
}

// --- Copies to shared memory -------------------------------------------------------------------------------

// The taps of a lattice, and the group of steps, one of them (or three kw) and 16 channels, that comes next.
template <class T>
struct Groups {
  Tf32Axis d, h, w;
  int kd, kh, kw, chunk;  ///< numbers of taps
  int chunks;

  __device__ Groups(const Product& p, int lattice)
      : d(p.axis(lattice / 4)), h(p.axis(lattice / 2 % 2)), w(p.axis(lattice % 2)), chunks(p.chunks) {}
  __device__ int count() const { return d.count * h.count * (T::taps == 1 ? w.count : 1) * chunks; }
  __device__ void start(int group) {
    chunk = group % chunks;
    int rest = group / chunks;
    kw = 0;
    if (T::taps == 1) kw = rest % max(1, w.count), rest /= max(1, w.count);
    kh = rest % max(1, h.count);
    kd = rest / max(1, h.count);
  }
  __device__ __forceinline__ void advance() {
    if (++chunk < chunks) return;
    chunk = 0;
    if (T::taps == 1) {
      if (++kw < w.count) return;
      kw = 0;
    }
    if (++kh < h.count) return;
    kh = 0;
    ++kd;
  }
  // Of this group's weights (tap kw + i), in steps.
  __device__ __forceinline__ int step(int kernel_size, int i) const {
    return ((d.tap(kd) * kernel_size + h.tap(kh)) * kernel_size + w.tap(kw + i)) * chunks + chunk;
  }
};

// What a thread copies of the input: 16 bytes of every 32nd row. Element offsets of the rows' voxels without
// a tap from in.data, and 9 bits a row: for each tap of an axis whether it lies inside of the view.
template <class T>
struct InputRows {
  int offset[T::thread_rows];
  uint32_t inside[(T::thread_rows + 2) / 3] = {};

  __device__ __forceinline__ InputRows(const Product& p, const View<float>& out, const Groups<T>& groups,
                                       int first) {
    const int thread = static_cast<int>(threadIdx.x), pitch = static_cast<int>(out.w) + T::taps / 2,
              height = static_cast<int>(out.h), depth = static_cast<int>(out.d),
              count = static_cast<int>(out.rows()) * pitch, stride = p.in_stride();
#pragma unroll
    for (int i = 0; i < T::thread_rows; ++i) {
      const int row = thread / 4 + i * T::row_step, position = first - T::taps / 2 + row;
      offset[i] = 0;
      if (row >= T::rows || position < 0 || position >= count) continue;
      const int w = position % pitch * stride, h = position / pitch % height * stride,
                d = position / pitch / height % depth * stride, n = position / pitch / height / depth;
      offset[i] = static_cast<int>(n * p.in.stride_n + d * p.in.stride_d + h * p.in.stride_h +
                                   w * p.in.stride_w + thread % 4 * 4);
      const auto bits = [](const Tf32Axis& axis, int from, int64_t extent) {
        uint32_t result = 0;
        for (int k = 0; k < axis.count; ++k) {
          const int at = from + axis.first_offset + k;
          if (at >= 0 && at < extent) result |= 1u << k;
        }
        return result;
      };
      const uint32_t of_w = T::taps == 1 ? bits(groups.w, w, p.in.w) : w < p.in.w ? 1 : 0;
      inside[i / 3] |= (bits(groups.d, d, p.in.d) | bits(groups.h, h, p.in.h) << 3 | of_w << 6) << i % 3 * 9;
    }
  }
};

template <class T>
__device__ __forceinline__ void copy_input(uint32_t tile, const Product& p, const InputRows<T>& rows,
                                           const Groups<T>& groups) {
  const int thread = static_cast<int>(threadIdx.x), row = thread / 4, channel = groups.chunk * tf32_channels;
  const int shift =
      channel + (groups.d.first_offset + groups.kd) * static_cast<int>(p.in.stride_d) +
      (groups.h.first_offset + groups.kh) * static_cast<int>(p.in.stride_h) +
      (T::taps == 1 ? (groups.w.first_offset + groups.kw) * static_cast<int>(p.in.stride_w) : 0);
  const uint32_t taps = 1u << groups.kd | 8u << groups.kh | 64u << groups.kw;
  const bool channel_inside = channel + thread % 4 * 4 < p.in.c;
  const uint32_t to = tile + static_cast<uint32_t>(gemm_offset(4, row, thread % 4));
#pragma unroll
  for (int i = 0; i < T::thread_rows; ++i) {
    const uint32_t needed = taps << i % 3 * 9;
    const bool inside = channel_inside && (rows.inside[i / 3] & needed) == needed;
    if ((i + 1) * T::row_step <= T::rows || row + i * T::row_step < T::rows)
      ptx::copy_16_async(to + i * T::row_step * T::row_bytes, p.in.data + (rows.offset[i] + shift), inside);
  }
}

template <class T>
__device__ __forceinline__ void copy_weights(uint32_t tile, const uint32_t* packed) {
  constexpr int copies = T::weight_bytes / 16;
#pragma unroll
  for (int first = 0; first < copies; first += T::threads) {
    const int i = first + static_cast<int>(threadIdx.x);
    if (first + T::threads <= copies || i < copies) ptx::copy_16_async(tile + i * 16, packed + i * 4, true);
  }
}

// --- Products ----------------------------------------------------------------------------------------------

// sums += one step: 16 channels of one tap. `input` is the lane's address for ldmatrix, `weights` that of its
// fragments, which are rounded already.
template <class T>
__device__ __forceinline__ void multiply_step(typename T::Sums& sums, uint32_t input, uint32_t weights) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t a[T::fragment_rows][4], b[T::fragments / 2][4];
#pragma unroll
    for (int i = 0; i < T::fragment_rows; ++i) {
      ptx::load_matrix_x4(a[i], (input ^ half << 5) + i * 16 * T::row_bytes);  // the same swizzle
#pragma unroll
      for (int j = 0; j < 4; ++j) a[i][j] = ptx::round_tf32(a[i][j]);
    }
#pragma unroll
    for (int pair = 0; pair < T::fragments / 2; ++pair)
      ptx::load_shared_16(b[pair], weights + (half * (T::fragments / 2) + pair) * 512);
#pragma unroll
    for (int i = 0; i < T::fragment_rows; ++i) {
#pragma unroll
      for (int j = 0; j < T::fragments; ++j)
        ptx::mma_m16n8k8_tf32(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }
}

// Stores the warp's sums, from position `first` and output channel `first_channel` on: 16 bytes a lane, four
// lanes 16 neighbouring channels.
template <class T>
__device__ __forceinline__ void store_sums(const View<float>& out, const float* bias, int first,
                                           int64_t first_channel, const typename T::Sums& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4,
            width = static_cast<int>(out.w), pitch = width + T::taps / 2, rows = static_cast<int>(out.rows());
#pragma unroll
  for (int i = 0; i < 2 * T::fragment_rows; ++i) {
    const int position = first + i * 8 + g, w = position % pitch, row = position / pitch;
    if (row >= rows || w >= width) continue;
    float* const to = out.row(row) + w * out.stride_w;
#pragma unroll
    for (int part = 0; part < T::columns / 16; ++part) {
      const int64_t channel = first_channel + part * 16 + q * 4;
      if (channel >= out.c) continue;
      Lanes<4> values;
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        values[c] = sums[i / 2][part * 2 + c / 2][i % 2 * 2 + c % 2];
        if (bias != nullptr) values[c] += bias[channel + c];
      }
      values.store(to + channel);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(T::threads, 2) tf32_kernel(Product p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t inputs = ptx::shared_address(shared_memory),
                 weights = inputs + T::input_ring * T::input_bytes;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  // Blocks that share their input run at the same time and find it in the second-level cache; the lattices
  // with the most taps begin.
  int rest = static_cast<int>(blockIdx.x);
  const int column_block = rest % p.column_blocks;
  rest /= p.column_blocks;
  const int first = rest % p.position_blocks * T::positions;
  rest /= p.position_blocks;
  const int lattice = p.lattices - 1 - rest % p.lattices, piece = rest / p.lattices;

  View<float> out = p.out;
  out.data += piece * out.n * out.stride_n;
  if (p.lattices > 1) {
    const int parity_d = lattice / 4, parity_h = lattice / 2 % 2, parity_w = lattice % 2;
    out.data += parity_d * out.stride_d + parity_h * out.stride_h + parity_w * out.stride_w;
    out.d = (out.d - parity_d + 1) / 2, out.h = (out.h - parity_h + 1) / 2,
    out.w = (out.w - parity_w + 1) / 2;
    out.stride_d *= 2, out.stride_h *= 2, out.stride_w *= 2;
    if (first >= out.voxels()) return;
  }
  Groups<T> next(p, lattice);
  const int all_groups = next.count(), begin = static_cast<int>(int64_t{all_groups} * piece / p.pieces);
  const unsigned groups =
      static_cast<unsigned>(int64_t{all_groups} * (piece + 1) / p.pieces) - static_cast<unsigned>(begin);
  next.start(begin);
  const InputRows<T> rows(p, out, next, first);
  const int volume = p.kernel_size * p.kernel_size * p.kernel_size;
  const uint32_t* const packed = p.packed + int64_t{column_block} * volume * p.chunks * (T::weight_bytes / 4);
  // Copies of step `tap` of `group`, and with its first step those of the group's input.
  const auto copy = [&](unsigned group, int tap) {
    if (group < groups) {
      if (tap == 0) copy_input<T>(inputs + group % T::input_ring * T::input_bytes, p, rows, next);
      copy_weights<T>(weights + (group * T::taps + tap) % T::weight_ring * T::weight_bytes,
                      packed + int64_t{next.step(p.kernel_size, tap)} * (T::weight_bytes / 4));
      if (tap == T::taps - 1) next.advance();
    }
    ptx::commit_copies();
  };
  constexpr unsigned groups_ahead = T::ahead / T::taps;
#pragma unroll
  for (int step = 0; step < T::ahead; ++step) copy(step / T::taps, step % T::taps);

  typename T::Sums sums = {};
  uint32_t input_of[T::taps];
#pragma unroll
  for (int tap = 0; tap < T::taps; ++tap)
    input_of[tap] = inputs + static_cast<uint32_t>(gemm_offset(4, warp * 64 + lane % 16 + tap, lane / 16));
#pragma unroll 1
  for (unsigned group = 0; group < groups; ++group) {
    const uint32_t input = group % T::input_ring * T::input_bytes;
#pragma unroll
    for (int tap = 0; tap < T::taps; ++tap) {
      ptx::wait_copies<T::ahead - 1>();
      __syncthreads();  // this step's copies are there, and what the next ones replace is done with
      copy(group + groups_ahead, tap);
      multiply_step<T>(sums, input_of[tap] + input,
                       weights + (group * T::taps + tap) % T::weight_ring * T::weight_bytes + lane * 16);
    }
  }
  ptx::wait_copies<0>();
  store_sums<T>(out, p.bias, first + warp * 64, int64_t{column_block} * T::columns, sums);
}

// The second pass: a thread adds the pieces of 4 channels of a voxel, in order.
__global__ void __launch_bounds__(block_threads)
    add_tf32_pieces_kernel(View<float> out, const float* partials, const float* bias, int pieces,
                           int64_t count) {
  const int64_t index = thread_index() * 4;
  if (index >= count) return;
  Lanes<4> sums = Lanes<4>::all(0);
  for (int piece = 0; piece < pieces; ++piece) {
    const auto values = Lanes<4>::load_constant(partials + piece * count + index);
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[i] += values[i];
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) sums[i] += bias != nullptr ? bias[index % out.c + i] : 0.0f;
  sums.store(element(out, index));
}

template <class T>
void launch(Product p, const float* weight, const WeightOrder& order, int64_t pieces, const Exec& exec) {
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const View<float> out = p.out;
  const float* const bias = p.bias;
  const int64_t volume = int64_t{p.kernel_size} * p.kernel_size * p.kernel_size;
  p.chunks = static_cast<int>(divide_up(p.in.c, tf32_channels));
  p.column_blocks = static_cast<int>(divide_up(out.c, T::columns));
  const bool lattices = p.transposed && p.stride == 2;
  p.lattices = lattices ? 8 : 1;
  const auto of_lattice = [&](int64_t extent) { return lattices ? (extent + 1) / 2 : extent; };
  p.position_blocks = static_cast<int>(divide_up(
      out.n * of_lattice(out.d) * of_lattice(out.h) * (of_lattice(out.w) + T::taps / 2), T::positions));
  const int64_t blocks = int64_t{p.column_blocks} * p.position_blocks * p.lattices,
                groups = (lattices ? std::min<int64_t>(volume, 8) : volume / T::taps) * p.chunks;
  // The order of sums must not depend on the device: cut as for 128 multiprocessors of two blocks, see
  // launch_gemm(). Storing and adding partial sums takes the time of about 15 steps.
  constexpr int64_t resident = 256, start = 1, finish = 15 / T::taps;
  if (pieces == 0) pieces = gemm_pieces(blocks, groups, resident, start, finish);
  p.pieces = static_cast<int>(pieces);

  WorkspaceScope scope(*exec.workspace);
  const int64_t places = p.column_blocks * volume * p.chunks * (T::weight_bytes / 16);
  uint32_t* const packed = scope.allocate<uint32_t>(static_cast<size_t>(places * 4));
  pack_tf32_kernel<T><<<blocks_for(places), block_threads, 0, stream_of(exec)>>>(
      packed, weight, order, out.c, p.in.c, static_cast<int>(volume), p.chunks, places);
  check_launch();
  p.packed = packed;
  float* partials = nullptr;
  if (pieces > 1) {
    partials = scope.allocate<float>(static_cast<size_t>(pieces * out.elements()));
    p.out = contiguous_view(partials, out.n, out.d, out.h, out.w, out.c);
    p.bias = nullptr;
  }
  constexpr int shared_bytes = T::shape.shared_bytes();
  // More than 48 KiB must be asked for; tf32_applies() has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(tf32_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  tf32_kernel<T><<<blocks_for(blocks * pieces, 1), T::threads, shared_bytes, stream_of(exec)>>>(p);
  check_launch();
  if (pieces == 1) return;
  const int64_t count = out.elements();
  add_tf32_pieces_kernel<<<blocks_for(count / 4), block_threads, 0, stream_of(exec)>>>(out, partials, bias,
                                                                                       p.pieces, count);
  check_launch();
}

void convolve(const Product& p, const float* weight, const WeightOrder& order, int64_t pieces,
              const Exec& exec) {
  if (p.out.elements() == 0) return;
  const auto with = [&]<int Taps>() {
    if (p.out.c <= 16) return launch<Tile<Taps, 16>>(p, weight, order, pieces, exec);
    if (p.out.c <= 32) return launch<Tile<Taps, 32>>(p, weight, order, pieces, exec);
    launch<Tile<Taps, 64>>(p, weight, order, pieces, exec);
  };
  if (p.kernel_size == 3 && p.stride == 1 && p.padding == 1) return with.template operator()<3>();
  with.template operator()<1>();
}

int64_t taps(const Conv3dParams& p) {
  return int64_t{p.kernel_size} * p.kernel_size * p.kernel_size;
}

Product product(const View<float>& out, const View<const float>& in, const float* bias,
                const Conv3dParams& params, bool transposed) {
  return {.out = out,
          .in = in,
          .packed = nullptr,
          .bias = bias,
          .kernel_size = params.kernel_size,
          .stride = params.stride,
          .padding = params.padding,
          .transposed = transposed,
          .chunks = 0,
          .column_blocks = 0,
          .position_blocks = 0,
          .lattices = 0,
          .pieces = 0};
}

}  // namespace

void conv3d_forward_tf32(View<float> y, View<const float> x, const float* weight, const float* bias,
                         const Conv3dParams& params, const Exec& exec, int64_t pieces) {
  convolve(product(y, x, bias, params, false), weight, {params.in_channels * taps(params), taps(params)},
           pieces, exec);
}

void conv3d_backward_input_tf32(View<float> dx, View<const float> dy, const float* weight, const float* bias,
                                const Conv3dParams& params, const Exec& exec, int64_t pieces) {
  convolve(product(dx, dy, bias, params, true), weight, {taps(params), params.in_channels * taps(params)},
           pieces, exec);
}

}  // namespace vg::kernels::cuda
