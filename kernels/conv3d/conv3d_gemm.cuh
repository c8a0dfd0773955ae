// What the kernels that compute a convolution as a matrix product (conv3d_gemm_tile.h) share: weights, copies
// to shared memory, pieces, stores. A tile T derives from GemmBlock and says how its instructions want the
// operands to lie: see conv3d_gemm_cuda.cu and conv3d_gemm_warpgroup_cuda.cu.
#pragma once

#include "kernels/common/lanes.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/integer.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"
#include "kernels/conv3d/conv3d_moments.cuh"
#include "kernels/conv3d/conv3d_pieces.cuh"

namespace vg::kernels::cuda {

template <int KernelSize, int Columns, bool Warpgroup>
struct GemmBlock {
  static constexpr GemmTile shape{KernelSize, Columns, Warpgroup};
  static constexpr int kernel_size = KernelSize, columns = Columns, positions = shape.positions(),
                       threads = GemmTile::threads, rows = shape.input_rows(),
                       input_bytes = shape.input_bytes(), input_ring = shape.input_ring(),
                       weight_bytes = shape.weight_bytes(), weight_ring = shape.weight_ring(),
                       ahead = shape.ahead();
  static constexpr int planes = KernelSize * KernelSize;  ///< pairs (kd, kh)
  static constexpr int fragments = Columns / 8;           ///< of 8 output channels
  static constexpr int row_padding = KernelSize / 2;      ///< positions behind a row of voxels
  static constexpr int warps_c = 1;                       ///< along channels
  /// Of 16 positions, in a warp, `fragment_pitch` positions from one to the next.
  static constexpr int fragment_rows = positions / 64, fragment_pitch = Warpgroup ? 64 : 16;
  static constexpr int row_step = threads / 4;  ///< rows of the input between a thread's
  static constexpr int thread_rows = (rows + row_step - 1) / row_step;
  /// The place in the ring of the weights of tap kw of a group.
  static __device__ __forceinline__ unsigned weight_place(unsigned group, int kw) {
    if constexpr (weight_ring % KernelSize == 0)
      return group % (weight_ring / KernelSize) * KernelSize + static_cast<unsigned>(kw);
    return (group * KernelSize + static_cast<unsigned>(kw)) % weight_ring;
  }
  /// The lane's sums: fragments of C as of mma.m16n8k16.
  using Sums = float[fragment_rows][fragments][4];
};

/// Where the weight of tap (kd, kh, kw) from reduced channel r to output channel o lies in `weight`.
struct GemmWeightOrder {
  int64_t output_stride, reduced_stride;
  bool flipped;
};

/// A convolution as a matrix product, cut into pieces.
struct GemmProduct {
  View<bfloat16> out;
  View<const bfloat16> in;
  const uint32_t* packed;
  const float* bias;       ///< or null
  PieceMeetings meetings;  ///< of `pieces` pieces of every tile
  float* moments;          ///< see store_moments(), or null
  int64_t pieces;
  int chunks;         ///< of 32 input channels
  int column_blocks;  ///< of the tile's columns
  int position_blocks;
};

/// What a block computes of it. Blocks that share their input run at the same time and find it in the
/// second-level cache.
struct GemmPart {
  int column_block, position_block, piece;

  __device__ __forceinline__ GemmPart(const GemmProduct& p, int block) {
    column_block = block % p.column_blocks;
    const int rest = block / p.column_blocks;
    position_block = rest % p.position_blocks, piece = rest / p.position_blocks;
  }
  __device__ __forceinline__ int tile(const GemmProduct& p) const {
    return position_block * p.column_blocks + column_block;
  }
};

// --- Weights -----------------------------------------------------------------------------------------------

/// An output and a reduced channel of the 32 x 16 that a block packs.
struct GemmPackedWeight {
  int output, reduced;
};

inline constexpr int gemm_pack_outputs = 32, gemm_pack_reduced = 16;

/// packed[block of columns][kd][kh][32 input channels][kw][16 of them]..; zero beyond the channels. A block
/// brings 32 output and 16 reduced channels with all their taps to shared memory, in the order in which they
/// lie in `weight`, and stores them as the tile says: T::packed_weight() is the weight of the lower half of a
/// word, T::packed_place() the place of 16 bytes.
template <class T>
__global__ void __launch_bounds__(block_threads)
    gemm_pack_kernel(uint32_t* packed, const float* weight, GemmWeightOrder order, int64_t outputs,
                     int64_t reduced, int chunks) {
  constexpr int volume = T::planes * T::kernel_size, count = gemm_pack_outputs * gemm_pack_reduced * volume,
                output_pitch = gemm_pack_reduced * volume + 2;  // lanes of other outputs meet other banks
  __shared__ bfloat16 shared[gemm_pack_outputs * output_pitch];
  const int reduced_blocks = 2 * chunks, reduced_block = static_cast<int>(blockIdx.x) % reduced_blocks,
            output_block = static_cast<int>(blockIdx.x) / reduced_blocks;
  const bool outputs_slowest = order.output_stride > order.reduced_stride;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += block_threads) {
    const int tap = i % volume, rest = i / volume;
    const int o = outputs_slowest ? rest / gemm_pack_reduced : rest % gemm_pack_outputs,
              r = outputs_slowest ? rest % gemm_pack_reduced : rest / gemm_pack_outputs;
    const int64_t output = int64_t{output_block} * gemm_pack_outputs + o,
                  from = int64_t{reduced_block} * gemm_pack_reduced + r;
    const bool inside = output < outputs && from < reduced;
    shared[o * output_pitch + r * volume + tap] =
        to_bfloat16(inside ? weight[output * order.output_stride + from * order.reduced_stride + tap] : 0.0f);
  }
  __syncthreads();
  constexpr int of_columns = T::columns / gemm_pack_outputs;
  const int64_t column_block = output_block / of_columns;
  for (int i = static_cast<int>(threadIdx.x); i < volume * 64; i += block_threads) {
    const int tap = i / 64, of_tap = order.flipped ? volume - 1 - tap : tap;
    uint32_t words[4];
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const GemmPackedWeight at = T::packed_weight(i % 64, word);
      const bfloat16* const from = shared + at.output * output_pitch + at.reduced * volume + of_tap;
      words[word] = from[0].bits | uint32_t{from[volume].bits} << 16;
    }
    const int64_t group = (column_block * T::planes + tap / T::kernel_size) * chunks + reduced_block / 2,
                  step = group * T::kernel_size + tap % T::kernel_size;
    const int place = T::packed_place(i % 64, output_block % of_columns, reduced_block % 2);
    ptx::store_global_16(packed + step * (T::weight_bytes / 4) + place * 4, words[0], words[1], words[2],
                         words[3]);
  }
}

/// How mma.m16n8k16 wants weights to lie: those of 16 input channels as [pair of fragments][lane][4 words],
/// b0, b1 of the first fragment, b0, b1 of the second.
template <int Columns>
struct GemmFragmentWeights {
  static __device__ __forceinline__ GemmPackedWeight packed_weight(int place, int word) {
    const int lane = place % 32;
    return {gemm_channel(place / 32 * 2 + word / 2, lane / 4), 2 * (lane % 4) + word % 2 * 8};
  }
  static __device__ __forceinline__ int packed_place(int place, int of_outputs, int half) {
    return (half * (Columns / 16) + of_outputs * 2) * 32 + place;
  }
};

// --- Copies to shared memory -------------------------------------------------------------------------------

// What a thread copies of the input: 16 bytes of every 32nd row. Element offsets from in.data, and a bit for
// each row and (kd, kh) whose voxel lies inside of the view, of a word for three rows (kernel 1: for all).
template <class T>
struct GemmInputRows {
  static constexpr int rows_a_word = T::planes == 1 ? T::thread_rows : 3;
  int offset[T::thread_rows];
  uint32_t inside[(T::thread_rows + rows_a_word - 1) / rows_a_word] = {};
  int chunk;

  static __device__ constexpr uint32_t bit(int i, int plane) {
    return 1u << (i % rows_a_word * T::planes + plane);
  }

  __device__ __forceinline__ GemmInputRows(const View<const bfloat16>& in, int first) {
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
struct GemmNextGroup {
  int plane, chunk;
  __device__ __forceinline__ void advance(int chunks) {
    ++chunk;
    if (T::planes > 1 && chunk == chunks) chunk = 0, ++plane;
  }
};

template <class T>
__device__ __forceinline__ void gemm_copy_input(uint32_t tile, const View<const bfloat16>& in,
                                                const GemmInputRows<T>& rows, const GemmNextGroup<T>& group) {
  const int channel = group.chunk * GemmTile::channels + rows.chunk * 8,
            plane = T::planes == 1 ? 0 : group.plane;
  const bool channel_inside = channel < in.c;
  int shift = channel_inside ? channel : 0;
  if constexpr (T::planes > 1) {
    const int kd = plane / 3, kh = plane - kd * 3;
    shift += (kd - 1) * static_cast<int>(in.stride_d) + (kh - 1) * static_cast<int>(in.stride_h);
  }
  const int row = static_cast<int>(threadIdx.x) / 4;
  const uint32_t to = tile + T::input_place(row, rows.chunk);
#pragma unroll
  for (int i = 0; i < T::thread_rows; ++i) {
    const uint32_t of_row = channel_inside ? rows.inside[i / GemmInputRows<T>::rows_a_word] >> plane : 0;
    const bool inside = (of_row & GemmInputRows<T>::bit(i, 0)) != 0;
    // Without a shift along D and H the voxel or the first one is there in any case.
    const int offset = T::planes == 1 || inside ? rows.offset[i] + shift : 0;
    if ((i + 1) * T::row_step <= T::rows || row + i * T::row_step < T::rows)
      ptx::copy_16_async(to + i * T::row_step * T::input_row_bytes, in.data + offset, inside);
  }
}

template <class T>
__device__ __forceinline__ void gemm_copy_weights(uint32_t tile, const uint32_t* packed) {
  constexpr int copies = T::weight_bytes / 16;
  static_assert(copies % T::threads == 0);
#pragma unroll
  for (int i = 0; i < copies / T::threads; ++i) {
    const int copy = static_cast<int>(threadIdx.x) + i * T::threads;
    ptx::copy_16_async(tile + copy * 16, packed + copy * 4, true);
  }
}

// --- Stores ------------------------------------------------------------------------------------------------

/// Stores 8 neighbouring output channels of a voxel: the one way by which results leave. With `Moments`, adds
/// theirs.
template <bool Moments>
__device__ __forceinline__ void gemm_store_channels(LaneMoments<8>& moments, bfloat16* out, Lanes<8> sums,
                                                    const float* bias) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    sums[i] += bias != nullptr ? bias[i] : 0.0f;
    if constexpr (Moments) moments.add(i, sums[i]);
  }
  sums.store(out);
}

/// Stores the warp's sums, from position `first` on and the block's from output channel `first_channel` on,
/// as results. Warp w has the (w % warps_c)-th 32 of every 32 * warps_c channels. With `Moments` the block's
/// moments too.
template <class T, bool Moments>
__device__ __forceinline__ void gemm_store_sums(const GemmProduct& p, int position_block, int first,
                                                int64_t first_channel, float* shared,
                                                const typename T::Sums& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4,
            width = static_cast<int>(p.out.w), pitch = width + T::row_padding,
            rows = static_cast<int>(p.out.rows()), warp_c = static_cast<int>(threadIdx.x) / 32 % T::warps_c;
#pragma unroll
  for (int part = 0; part < T::columns / 32 / T::warps_c; ++part) {
    const int64_t part_channel = first_channel + part * T::warps_c * 32,
                  channel = part_channel + warp_c * 32 + q * 8;
    LaneMoments<8> moments;
#pragma unroll
    for (int i = 0; i < 2 * T::fragment_rows; ++i) {
      const int position = first + i / 2 * T::fragment_pitch + i % 2 * 8 + g, w = position % pitch,
                row = position / pitch;
      if (row >= rows || w >= width || channel >= p.out.c) continue;
      Lanes<8> values;
#pragma unroll
      for (int c = 0; c < 8; ++c) values[c] = sums[i / 2][part * 4 + c / 2][i % 2 * 2 + c % 2];
      gemm_store_channels<Moments>(moments, p.out.row(row) + w * p.out.stride_w + channel, values,
                                   p.bias == nullptr ? nullptr : p.bias + channel);
    }
    if constexpr (Moments) {
      float totals[2] = {};
      add_lanes(totals, moments);
      store_moments<T::threads / 32, T::warps_c>(p.moments + (position_block * p.out.c + part_channel) * 2,
                                                 shared, totals, p.out.c - part_channel);
    }
  }
}

/// Adds the pieces and stores the results. `warp_first`: the warp's first position in the block's; `shared`:
/// shared memory that the block needs no more.
template <class T, bool Moments>
__device__ __forceinline__ void gemm_finish(const GemmProduct& p, int warp_first, float* shared,
                                            typename T::Sums& sums) {
  const GemmPart part(p, ptx::block_index());  // not kept in registers until here
  constexpr int lane_floats = T::fragment_rows * T::fragments * 4;
  static_assert(PieceMeetings::shared_bytes(T::threads, lane_floats) <= T::shape.shared_bytes() &&
                T::threads * lane_floats == T::positions * T::columns);
  if (!p.meetings.add<T::threads>(sums, static_cast<int>(p.pieces), part.piece,
                                  p.column_blocks * p.position_blocks, part.tile(p),
                                  reinterpret_cast<unsigned*>(shared)))
    return;
  gemm_store_sums<T, Moments>(p, part.position_block, part.position_block * T::positions + warp_first,
                              int64_t{part.column_block} * T::columns, shared, sums);
}

// --- Kernel ------------------------------------------------------------------------------------------------

template <class T, bool Moments>
__global__ void __launch_bounds__(T::threads, 2) gemm_kernel(GemmProduct p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t inputs = ptx::shared_address(shared_memory),
                 weights = inputs + T::input_ring * T::input_bytes;
  const GemmPart part(p, static_cast<int>(blockIdx.x));
  const int first = part.position_block * T::positions;
  const int all_groups = T::planes * p.chunks,
            group_begin = static_cast<int>(all_groups * int64_t{part.piece} / p.pieces);
  const unsigned groups = static_cast<unsigned>(all_groups * int64_t{part.piece + 1} / p.pieces) -
                          static_cast<unsigned>(group_begin);

  const GemmInputRows<T> rows(p.in, first);
  GemmNextGroup<T> next{group_begin / p.chunks, group_begin % p.chunks};
  const uint32_t* packed = p.packed + (int64_t{part.column_block} * all_groups + group_begin) *
                                          T::kernel_size * (T::weight_bytes / 4);
  // Copies of the step of tap kw of `group`, and with its first tap those of the group's input.
  const auto copy = [&](unsigned group, int kw) {
    if (group < groups) {
      if (kw == 0) {
        gemm_copy_input<T>(inputs + group % T::input_ring * T::input_bytes, p.in, rows, next);
        next.advance(p.chunks);
      }
      gemm_copy_weights<T>(weights + T::weight_place(group, kw) * T::weight_bytes, packed);
      packed += T::weight_bytes / 4;
    }
    ptx::commit_copies();
  };
#pragma unroll
  for (int step = 0; step < T::ahead; ++step) copy(step / T::kernel_size, step % T::kernel_size);

  typename T::Sums sums = {};
  const typename T::Products products(inputs, weights);
#pragma unroll 1
  for (unsigned group = 0; group < groups; ++group) {
#pragma unroll
    for (int kw = 0; kw < T::kernel_size; ++kw) {
      ptx::wait_copies<T::ahead - 1>();
      T::Products::before_barrier();
      __syncthreads();  // this step's copies are there, and what the next ones replace is done with
      copy(group + (kw + T::ahead) / T::kernel_size, (kw + T::ahead) % T::kernel_size);
      products.multiply(sums, kw, group % T::input_ring * T::input_bytes,
                        T::weight_place(group, kw) * T::weight_bytes);
    }
  }
  ptx::wait_copies<0>();
  T::Products::finish();
  gemm_finish<T, Moments>(p, static_cast<int>(threadIdx.x) / 32 * T::warp_pitch,
                          reinterpret_cast<float*>(shared_memory), sums);
}

/// A convolution and what it is to compute.
struct GemmOperands {
  View<bfloat16> out;
  const OutputStatistics* statistics;  ///< or null
  View<const bfloat16> in;
  const float* weight;
  GemmWeightOrder order;
  const float* bias;  ///< or null
  int64_t pieces;     ///< or 0: as many as fill a GPU
};

/// The product with GemmPlaneTile.
void gemm_plane(const GemmOperands& o, const Exec& exec);

/// Launches the kernel for a product of `position_blocks` blocks of T's positions with `pieces` pieces, and
/// what must come before and after it.
template <class T>
void launch_product(const GemmOperands& o, int64_t position_blocks, int64_t pieces,
                    void (*plain)(GemmProduct), void (*with_moments)(GemmProduct), const Exec& exec) {
  const View<bfloat16>& out = o.out;
  const View<const bfloat16>& in = o.in;
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t chunks = divide_up(in.c, GemmTile::channels), column_blocks = divide_up(out.c, T::columns);

  WorkspaceScope scope(*exec.workspace);
  uint32_t* const packed = scope.allocate<uint32_t>(
      static_cast<size_t>(column_blocks * T::planes * chunks * T::kernel_size * (T::weight_bytes / 4)));
  const PieceMeetings meetings = prepare_meetings(scope, (pieces - 1) * column_blocks * position_blocks,
                                                  T::positions * T::columns, exec);
  gemm_pack_kernel<T>
      <<<blocks_for(column_blocks * (T::columns / gemm_pack_outputs) * 2 * chunks, 1), block_threads, 0,
         stream_of(exec)>>>(packed, o.weight, o.order, out.c, in.c, static_cast<int>(chunks));
  check_launch();
  GemmProduct product{out,
                      in,
                      packed,
                      o.bias,
                      meetings,
                      nullptr,
                      pieces,
                      static_cast<int>(chunks),
                      static_cast<int>(column_blocks),
                      static_cast<int>(position_blocks)};
  // A block's positions may belong to two samples.
  const bool moments = o.statistics != nullptr && (out.n == 1 || !o.statistics->per_instance);
  if (moments) product.moments = allocate_moments(scope, position_blocks, out.c);
  const auto kernel = moments ? with_moments : plain;
  constexpr int shared_bytes = T::shape.shared_bytes();
  // More than 48 KiB must be asked for; the choice of the algorithm has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  kernel<<<blocks_for(pieces * column_blocks * position_blocks, 1), T::threads, shared_bytes,
           stream_of(exec)>>>(product);
  check_launch();
  if (moments) return finish_statistics(*o.statistics, product.moments, position_blocks, out, exec);
  compute_statistics(o.statistics, out, exec);
}

template <class T>
void launch_gemm(const GemmOperands& o, const Exec& exec) {
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t column_blocks = divide_up(o.out.c, T::columns),
                position_blocks = divide_up(gemm_positions(o.out, T::kernel_size), T::positions),
                groups = T::planes * divide_up(o.in.c, GemmTile::channels);
  // The order of sums must not depend on the device: cut as for 128 multiprocessors, close to those that
  // train (A100 108, RTX 4090 128, H100 132), which hold two blocks. Storing and adding partial sums of a
  // tile, 64 KiB each way, and the launch of a second pass take the time of about seven groups.
  constexpr int64_t resident = 256, start = 1, finish = 7;
  const int64_t pieces = o.pieces != 0
                             ? o.pieces
                             : gemm_pieces(column_blocks * position_blocks, groups, resident, start, finish);
  launch_product<T>(o, position_blocks, pieces, gemm_kernel<T, false>, gemm_kernel<T, true>, exec);
}

}  // namespace vg::kernels::cuda
