// Convolution of stride 1 that keeps the extents (kernel 3, padding 1; kernel 1) as a matrix product on
// tensor cores, for channels beyond what the halo tiles take: positions (conv3d_gemm_tile.h) are the rows,
// output channels the columns, taps and input channels the sum. A block gathers a tile of the input for one
// (kd, kh) and 32 channels and takes the three taps kw from it. Where positions are few the sum is cut into
// pieces, whose partial results a second pass adds in order. The gradient with respect to the input is the
// same kernel with flipped and transposed weights.
#include "kernels/common/lanes.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"

namespace vg::kernels::cuda {

namespace {

template <int KernelSize, int Columns>
struct Tile {
  static constexpr GemmTile shape{KernelSize, Columns};
  static constexpr int kernel_size = KernelSize, columns = Columns, positions = GemmTile::positions,
                       threads = GemmTile::threads, rows = shape.input_rows(),
                       input_bytes = shape.input_bytes(), input_ring = shape.input_ring(),
                       weight_bytes = shape.weight_bytes(), weight_ring = GemmTile::weight_ring;
  static constexpr int planes = KernelSize * KernelSize;  ///< pairs (kd, kh)
  static constexpr int pairs = Columns / 16;              ///< of fragments of 8 output channels
  static constexpr int row_step = threads / 4;            ///< rows of the input between a thread's
  static constexpr int thread_rows = (rows + row_step - 1) / row_step;
  static constexpr int fragment_rows = 4;  ///< of 16 positions, in a warp
};

// Where the weight of tap (kd, kh, kw) from reduced channel r to output channel o lies in `weight`.
struct WeightOrder {
  int64_t output_stride, reduced_stride;
  bool flipped;
};

// A convolution as a matrix product, cut into pieces.
struct Product {
  View<bfloat16> out;
  View<const bfloat16> in;
  const uint32_t* packed;
  const float* bias;  ///< or null
  float* partials;    ///< [piece][voxel][channel] if there is more than one piece
  int64_t pieces;
  int chunks;         ///< of 32 input channels
  int column_blocks;  ///< of the tile's columns
  int position_blocks;
};

// --- Weights -----------------------------------------------------------------------------------------------

constexpr int pack_outputs = 32, pack_reduced = 16;

// packed[block of columns][kd][kh][32 input channels][kw][16 of them][pair of fragments][lane][4 words]: b0,
// b1 of the first fragment, b0, b1 of the second; zero beyond the channels. A block brings 32 output and 16
// reduced channels with all their taps to shared memory, in the order in which they lie in `weight`.
template <class T>
__global__ void __launch_bounds__(block_threads)
    pack_kernel(uint32_t* packed, const float* weight, WeightOrder order, int64_t outputs, int64_t reduced,
                int chunks) {
  constexpr int volume = T::planes * T::kernel_size, count = pack_outputs * pack_reduced * volume,
                output_pitch = pack_reduced * volume + 2;  // lanes of other outputs meet other banks
  __shared__ bfloat16 shared[pack_outputs * output_pitch];
  const int reduced_blocks = 2 * chunks, reduced_block = static_cast<int>(blockIdx.x) % reduced_blocks,
            output_block = static_cast<int>(blockIdx.x) / reduced_blocks;
  const bool outputs_slowest = order.output_stride > order.reduced_stride;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += block_threads) {
    const int tap = i % volume, rest = i / volume;
    const int o = outputs_slowest ? rest / pack_reduced : rest % pack_outputs,
              r = outputs_slowest ? rest % pack_reduced : rest / pack_outputs;
    const int64_t output = int64_t{output_block} * pack_outputs + o,
                  from = int64_t{reduced_block} * pack_reduced + r;
    const bool inside = output < outputs && from < reduced;
    shared[o * output_pitch + r * volume + tap] =
        to_bfloat16(inside ? weight[output * order.output_stride + from * order.reduced_stride + tap] : 0.0f);
  }
  __syncthreads();
  constexpr int of_columns = T::columns / pack_outputs;
  const int64_t column_block = output_block / of_columns;
  for (int i = static_cast<int>(threadIdx.x); i < volume * 2 * 32; i += block_threads) {
    const int lane = i % 32, g = lane / 4, q = lane % 4, pair = i / 32 % 2, tap = i / 64;
    uint32_t words[4];
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const int o = gemm_channel(pair * 2 + word / 2, g), r = 2 * q + word % 2 * 8;
      const bfloat16* const from =
          shared + o * output_pitch + r * volume + (order.flipped ? volume - 1 - tap : tap);
      words[word] = from[0].bits | uint32_t{from[volume].bits} << 16;
    }
    const int64_t group = (column_block * T::planes + tap / T::kernel_size) * chunks + reduced_block / 2,
                  step = (group * T::kernel_size + tap % T::kernel_size) * 2 + reduced_block % 2;
    ptx::store_global_16(packed + ((step * T::pairs + output_block % of_columns * 2 + pair) * 32 + lane) * 4,
                         words[0], words[1], words[2], words[3]);
  }
}

// --- Copies to shared memory -------------------------------------------------------------------------------

// What a thread copies of the input: 16 bytes of every 32nd row. Element offsets from in.data, and a bit for
// each row and (kd, kh) whose voxel lies inside of the view, of a word for three rows (kernel 1: for all).
template <class T>
struct InputRows {
  static constexpr int rows_a_word = T::planes == 1 ? T::thread_rows : 3;
  int offset[T::thread_rows];
  uint32_t inside[(T::thread_rows + rows_a_word - 1) / rows_a_word] = {};
  int chunk;

  static __device__ constexpr uint32_t bit(int i, int plane) {
    return 1u << (i % rows_a_word * T::planes + plane);
  }

  __device__ __forceinline__ InputRows(const View<const bfloat16>& in, int first) {
    constexpr int middle = T::kernel_size / 2;
    const int thread = static_cast<int>(threadIdx.x), pitch = static_cast<int>(in.w) + middle,
              height = static_cast<int>(in.h), depth = static_cast<int>(in.d),
              count = static_cast<int>(in.rows()) * pitch;
    chunk = thread % 4;
#pragma unroll
    for (int i = 0; i < T::thread_rows; ++i) {
      const int row = thread / 4 + i * T::row_step, position = first - middle + row;
      offset[i] = 0;
      if (row >= T::rows || position < 0 || position >= count) continue;
      const int w = position % pitch, h = position / pitch % height, d = position / pitch / height % depth,
                n = position / pitch / height / depth;
      if (w >= in.w) continue;
      offset[i] = static_cast<int>(n * in.stride_n + d * in.stride_d + h * in.stride_h + w * in.stride_w);
      for (int plane = 0; plane < T::planes; ++plane) {
        const int of_d = d + plane / 3 - middle, of_h = h + plane % 3 - middle;
        if (of_d >= 0 && of_d < depth && of_h >= 0 && of_h < height) inside[i / rows_a_word] |= bit(i, plane);
      }
    }
  }
};

// The group of steps, one (kd, kh) and 32 channels, whose input is copied next.
template <class T>
struct NextGroup {
  int plane, chunk;
  __device__ __forceinline__ void advance(int chunks) {
    ++chunk;
    if (T::planes > 1 && chunk == chunks) chunk = 0, ++plane;
  }
};

template <class T>
__device__ __forceinline__ void copy_input(uint32_t tile, const View<const bfloat16>& in,
                                           const InputRows<T>& rows, const NextGroup<T>& group) {
  const int channel = group.chunk * GemmTile::channels + rows.chunk * 8,
            plane = T::planes == 1 ? 0 : group.plane;
  const bool channel_inside = channel < in.c;
  int shift = channel_inside ? channel : 0;
  if constexpr (T::planes > 1) {
    const int kd = plane / 3, kh = plane - kd * 3;
    shift += (kd - 1) * static_cast<int>(in.stride_d) + (kh - 1) * static_cast<int>(in.stride_h);
  }
  const int row = static_cast<int>(threadIdx.x) / 4;
  const uint32_t to = tile + gemm_offset(4, row, rows.chunk);
#pragma unroll
  for (int i = 0; i < T::thread_rows; ++i) {
    const uint32_t of_row = channel_inside ? rows.inside[i / InputRows<T>::rows_a_word] >> plane : 0;
    const bool inside = (of_row & InputRows<T>::bit(i, 0)) != 0;
    // Without a shift along D and H the voxel or the first one is there in any case.
    const int offset = T::planes == 1 || inside ? rows.offset[i] + shift : 0;
    if ((i + 1) * T::row_step <= T::rows || row + i * T::row_step < T::rows)
      ptx::copy_16_async(to + i * T::row_step * 64, in.data + offset, inside);
  }
}

template <class T>
__device__ __forceinline__ void copy_weights(uint32_t tile, const uint32_t* packed) {
  constexpr int copies = T::weight_bytes / 16;
  static_assert(copies % T::threads == 0);
#pragma unroll
  for (int i = 0; i < copies / T::threads; ++i) {
    const int copy = static_cast<int>(threadIdx.x) + i * T::threads;
    ptx::copy_16_async(tile + copy * 16, packed + copy * 4, true);
  }
}

// --- Products ----------------------------------------------------------------------------------------------

// sums += one step: 32 channels of one tap. `input` is the lane's address for ldmatrix, `weights` that of its
// fragments.
template <class T>
__device__ __forceinline__ void multiply_step(float (&sums)[T::fragment_rows][2 * T::pairs][4],
                                              uint32_t input, uint32_t weights) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t a[T::fragment_rows][4], b[T::pairs][4];
#pragma unroll
    for (int i = 0; i < T::fragment_rows; ++i)
      ptx::load_matrix_x4(a[i], (input ^ half << 5) + i * 16 * 64);  // 16 rows on: the same swizzle
#pragma unroll
    for (int pair = 0; pair < T::pairs; ++pair)
      ptx::load_shared_16(b[pair], weights + (half * T::pairs + pair) * 512);
#pragma unroll
    for (int i = 0; i < T::fragment_rows; ++i) {
#pragma unroll
      for (int j = 0; j < 2 * T::pairs; ++j)
        ptx::mma_m16n8k16(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }
}

// Stores 8 neighbouring output channels of a voxel: the one way by which results leave.
__device__ __forceinline__ void store_channels(bfloat16* out, Lanes<8> sums, const float* bias) {
#pragma unroll
  for (int i = 0; i < 8; ++i) sums[i] += bias != nullptr ? bias[i] : 0.0f;
  sums.store(out);
}

// Partial sums of a voxel: of every 32 channels, which four lanes hold, first the lanes' first four and then
// their second four, so that their stores of 16 bytes fill whole sectors.
__host__ __device__ __forceinline__ int64_t partial_channels(int64_t channels) {
  return (channels + 31) / 32 * 32;
}
__device__ __forceinline__ int64_t partial_offset(int64_t channel) {
  return channel / 32 * 32 + channel % 32 / 8 * 4;
}

// Stores the warp's sums, from position `first` and output channel `first_channel` on: as results, or as
// partial sums of this piece.
template <class T>
__device__ __forceinline__ void store_sums(const Product& p, int64_t piece, int first, int64_t first_channel,
                                           const float (&sums)[T::fragment_rows][2 * T::pairs][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4,
            width = static_cast<int>(p.out.w), pitch = width + T::kernel_size / 2,
            rows = static_cast<int>(p.out.rows());
#pragma unroll
  for (int i = 0; i < 2 * T::fragment_rows; ++i) {
    const int position = first + i * 8 + g, w = position % pitch, row = position / pitch;
    if (row >= rows || w >= width) continue;
#pragma unroll
    for (int part = 0; part < T::columns / 32; ++part) {
      const int64_t channel = first_channel + part * 32 + q * 8;
      if (channel >= p.out.c) continue;
      Lanes<8> values;
#pragma unroll
      for (int c = 0; c < 8; ++c) values[c] = sums[i / 2][part * 4 + c / 2][i % 2 * 2 + c % 2];
      if (p.pieces == 1) {
        store_channels(p.out.row(row) + w * p.out.stride_w + channel, values,
                       p.bias == nullptr ? nullptr : p.bias + channel);
      } else {
        float* const to = p.partials + ((piece * rows + row) * width + w) * partial_channels(p.out.c) +
                          partial_offset(channel);
        Lanes<4>{{values[0], values[1], values[2], values[3]}}.store(to);
        Lanes<4>{{values[4], values[5], values[6], values[7]}}.store(to + 16);
      }
    }
  }
}

template <class T>
__global__ void __launch_bounds__(T::threads, 2) gemm_kernel(Product p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t inputs = ptx::shared_address(shared_memory),
                 weights = inputs + T::input_ring * T::input_bytes;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  // Blocks that share their input run at the same time and find it in the second-level cache.
  const int column_block = static_cast<int>(blockIdx.x) % p.column_blocks,
            rest = static_cast<int>(blockIdx.x) / p.column_blocks,
            first = rest % p.position_blocks * T::positions, piece = rest / p.position_blocks;
  const int all_groups = T::planes * p.chunks,
            group_begin = static_cast<int>(all_groups * int64_t{piece} / p.pieces);
  const unsigned groups =
      static_cast<unsigned>(all_groups * int64_t{piece + 1} / p.pieces) - static_cast<unsigned>(group_begin);

  const InputRows<T> rows(p.in, first);
  NextGroup<T> next{group_begin / p.chunks, group_begin % p.chunks};
  const uint32_t* packed =
      p.packed + (int64_t{column_block} * all_groups + group_begin) * T::kernel_size * (T::weight_bytes / 4);
  // Copies of the step of tap kw of `group`, and with its first tap those of the group's input.
  const auto copy = [&](unsigned group, int kw) {
    if (group < groups) {
      if (kw == 0) {
        copy_input<T>(inputs + group % T::input_ring * T::input_bytes, p.in, rows, next);
        next.advance(p.chunks);
      }
      copy_weights<T>(weights + (group * T::kernel_size + kw) % T::weight_ring * T::weight_bytes, packed);
      packed += T::weight_bytes / 4;
    }
    ptx::commit_copies();
  };
  static_assert(GemmTile::ahead % T::kernel_size == 0);
  constexpr int groups_ahead = GemmTile::ahead / T::kernel_size;
#pragma unroll
  for (int step = 0; step < GemmTile::ahead; ++step) copy(step / T::kernel_size, step % T::kernel_size);

  float sums[T::fragment_rows][2 * T::pairs][4] = {};
  uint32_t input_of[T::kernel_size];
#pragma unroll
  for (int kw = 0; kw < T::kernel_size; ++kw)
    input_of[kw] = inputs + gemm_offset(4, warp * 64 + lane % 16 + kw, lane / 16);
#pragma unroll 1
  for (unsigned group = 0; group < groups; ++group) {
    const uint32_t input = group % T::input_ring * T::input_bytes;
#pragma unroll
    for (int kw = 0; kw < T::kernel_size; ++kw) {
      ptx::wait_copies<GemmTile::ahead - 1>();
      __syncthreads();  // this step's copies are there, and what the next ones replace is done with
      copy(group + groups_ahead, kw);
      multiply_step<T>(
          sums, input_of[kw] + input,
          weights + (group * T::kernel_size + kw) % T::weight_ring * T::weight_bytes + lane * 16);
    }
  }
  ptx::wait_copies<0>();
  store_sums<T>(p, piece, first + warp * 64, int64_t{column_block} * T::columns, sums);
}

// The second pass: a thread adds the pieces of 8 channels of a voxel, in order.
__global__ void __launch_bounds__(block_threads, 4) add_pieces_kernel(Product p) {
  const int64_t index = thread_index() * 8, channels = partial_channels(p.out.c), voxel = index / channels,
                channel = index % channels, count = p.out.voxels() * channels;
  if (index >= count || channel >= p.out.c) return;
  const float* from = p.partials + voxel * channels + partial_offset(channel);
  auto sums = Lanes<8>::all(0);
  for (int64_t piece = 0; piece < p.pieces; ++piece, from += count) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const auto values = Lanes<4>::load_constant(from + half * 16);
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[half * 4 + i] += values[i];
    }
  }
  store_channels(cuda::voxel(p.out, voxel) + channel, sums, p.bias == nullptr ? nullptr : p.bias + channel);
}

template <class T>
void launch(const View<bfloat16>& out, const View<const bfloat16>& in, const float* weight,
            const WeightOrder& order, const float* bias, const Exec& exec, int64_t pieces) {
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t chunks = divide_up(in.c, GemmTile::channels), column_blocks = divide_up(out.c, T::columns),
                position_blocks = divide_up(gemm_positions(out, T::kernel_size), T::positions),
                groups = T::planes * chunks;
  // The order of sums must not depend on the device: cut as for 128 multiprocessors, close to those that
  // train (A100 108, RTX 4090 128, H100 132), which hold two blocks. Storing and adding partial sums of a
  // tile, 64 KiB each way, takes the time of about five groups.
  constexpr int64_t resident = 256, start = 1, finish = 5;
  if (pieces == 0) pieces = gemm_pieces(column_blocks * position_blocks, groups, resident, start, finish);

  WorkspaceScope scope(*exec.workspace);
  uint32_t* const packed = scope.allocate<uint32_t>(
      static_cast<size_t>(column_blocks * groups * T::kernel_size * (T::weight_bytes / 4)));
  pack_kernel<T><<<blocks_for(column_blocks * (T::columns / pack_outputs) * 2 * chunks, 1), block_threads, 0,
                   stream_of(exec)>>>(packed, weight, order, out.c, in.c, static_cast<int>(chunks));
  check_launch();
  Product product{out,
                  in,
                  packed,
                  bias,
                  nullptr,
                  pieces,
                  static_cast<int>(chunks),
                  static_cast<int>(column_blocks),
                  static_cast<int>(position_blocks)};
  const int64_t partials = out.voxels() * partial_channels(out.c);
  if (pieces > 1) product.partials = scope.allocate<float>(static_cast<size_t>(pieces * partials));
  constexpr int shared_bytes = T::shape.shared_bytes();
  // More than 48 KiB must be asked for; gemm_applies() has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(gemm_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  gemm_kernel<T><<<blocks_for(pieces * column_blocks * position_blocks, 1), T::threads, shared_bytes,
                   stream_of(exec)>>>(product);
  check_launch();
  if (pieces == 1) return;
  add_pieces_kernel<<<blocks_for(partials / 8), block_threads, 0, stream_of(exec)>>>(product);
  check_launch();
}

void convolve(const View<bfloat16>& out, const View<const bfloat16>& in, const float* weight,
              const WeightOrder& order, const float* bias, int kernel_size, const Exec& exec,
              int64_t pieces) {
  if (out.elements() == 0) return;
  const auto with = [&]<int KernelSize>() {
    if (out.c <= 32) return launch<Tile<KernelSize, 32>>(out, in, weight, order, bias, exec, pieces);
    launch<Tile<KernelSize, 64>>(out, in, weight, order, bias, exec, pieces);
  };
  if (kernel_size == 3) return with.template operator()<3>();
  with.template operator()<1>();
}

int64_t volume(const Conv3dParams& p) {
  return int64_t{p.kernel_size} * p.kernel_size * p.kernel_size;
}

}  // namespace

void conv3d_forward_gemm(View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias,
                         const Conv3dParams& params, const Exec& exec, int64_t pieces) {
  convolve(y, x, weight, {params.in_channels * volume(params), volume(params), false}, bias,
           params.kernel_size, exec, pieces);
}

void conv3d_backward_input_gemm(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                const Conv3dParams& params, const Exec& exec, int64_t pieces) {
  convolve(dx, dy, weight, {volume(params), params.in_channels * volume(params), true}, nullptr,
           params.kernel_size, exec, pieces);
}

}  // namespace vg::kernels::cuda
