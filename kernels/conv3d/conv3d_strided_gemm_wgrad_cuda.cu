// Gradient of the weights of a convolution with kernel 3, stride 2 and padding 1, and that of the transposed
// convolution, as matrix products on tensor cores, for the deep levels: for one tap dw[f][c] = sum over v of
// fine[2 v - 1 + tap][f] coarse[v][c]. Coarse voxels are numbered without gaps (conv3d_strided_gemm_tile.h)
// and run, with the fine ones at the same places of each parity, through rings in shared memory, in which the
// taps are shifts: by a row, a voxel or both back. A block takes one kd, or where planes are small those of
// the odd planes: kd = 0 is a shift by a plane. Voxels are cut into pieces, which meet (conv3d_pieces.cuh).
#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"
#include "kernels/conv3d/conv3d_pieces.cuh"
#include "kernels/conv3d/conv3d_strided_gemm_tile.h"

namespace vg::kernels::cuda {

namespace {

template <int FineChannels, int CoarseChannels, bool Outer = false>
struct Tile {
  static constexpr StridedGemmWgradTile shape{{}, FineChannels, CoarseChannels, Outer};
  static constexpr bool outer = Outer;
  static constexpr int fine_channels = FineChannels, coarse_channels = CoarseChannels,
                       fine_rings = shape.fine_rings(), halves = shape.halves(), planes = shape.planes(),
                       positions = shape.positions(), turns = shape.turns(), ring_bytes = shape.ring_bytes(),
                       ring_pitch = shape.ring_pitch(), shared_bytes = shape.shared_bytes();
  static constexpr int warps_f = FineChannels / 16, warps_c = CoarseChannels / 32;
  static constexpr int row_threads = StridedGemmTile::threads / positions;  ///< that copy a row
  /// The row that a thread copies. Eight neighbouring threads of two rows write to all banks if the rows
  /// differ in bit 2, by which the swizzle changes the half of a row.
  static __device__ __forceinline__ int copied_row(int thread) {
    const int row = thread / row_threads;
    return row_threads == 8 ? row : (row & ~5) | (row & 1) << 2 | (row >> 2 & 1);
  }
  /// A thread's copies of fine channels: all parities, or where there are threads enough those of one along
  /// H. Eight threads write to all banks at a time: those of odd rows begin with odd voxels.
  static constexpr int fine_copies = FineChannels / 2 / row_threads, fine_chunks = FineChannels / 8,
                       coarse_copies = CoarseChannels / 8 / row_threads;
  static __device__ __forceinline__ bool odd(int thread) {
    return fine_copies == 2 && thread % row_threads >= fine_chunks;
  }
  /// Threads that have the sums in the end, and rows, 8 coarse channels of each warp's 32, in which these go
  /// through shared memory: nine taps of each fine channel and kd, padded so that lanes write to all banks.
  static constexpr int holders = StridedGemmTile::threads / halves, rows = warps_c * 8,
                       runs = FineChannels * planes, row_pitch = runs * 9 + 4;
  static_assert(warps_f * warps_c * halves * planes == StridedGemmTile::warps &&
                (fine_copies == 4 || fine_copies == 2) && rows * row_pitch * 4 <= shared_bytes &&
                PieceMeetings::shared_bytes(holders, StridedGemmWgradTile::sums) <= shared_bytes);
};
constexpr int threads = StridedGemmTile::threads, ring = StridedGemmWgradTile::ring,
              row_bytes = StridedGemmWgradTile::ring_row_bytes, taps = StridedGemmWgradTile::taps,
              fragments = StridedGemmWgradTile::fragments, ahead = StridedGemmWgradTile::ahead;
using Sums = float[taps][fragments][4];

// How far it is from a position to one some positions on: along W, H and D, in elements of both volumes, and
// what it is more where a row, a plane or a sample ends.
struct Steps {
  int w, h, d, fine, coarse;
  int fine_row, fine_plane, fine_sample, coarse_row, coarse_plane, coarse_sample;
};

// How a tile cuts the problem.
struct Cut {
  int stages, fine_blocks, blocks;  ///< blocks: of a piece
  Steps stage;
  int turn_w, turn_h, turn_d;  ///< steps of the positions that a warp multiplies at a time
};

struct Problem {
  View<const bfloat16> coarse, fine;
  float* dweight;
  PieceMeetings meetings;
  int pieces;
  int count, width, height, depth, odd_width, odd_height, fine_depth, fine_stride_w, fine_stride_h;
  Cut cuts[2];  ///< the second one that of the outer tile, if there are such blocks
};

// What a block computes.
struct Part {
  int piece, tile;  ///< tile: of a piece, of both cuts
  int kd, fine_first, coarse_first;
};

// The voxel of a row of the stages, and where it lies in both volumes. A thread copies some of the row's
// parities of 8 fine channels, and 8 or twice 8 coarse channels.
template <class T>
class StageRow {
 public:
  __device__ __forceinline__ StageRow(const Problem& p, const Part& part, int position, int first)
      : position_(position - first), count_(p.count - first) {
    const int thread = static_cast<int>(threadIdx.x) % T::row_threads, kd = part.kd,
              fine_channel = part.fine_first + thread % T::fine_chunks * 8,
              coarse_channel = part.coarse_first + thread * 8;
    fine_inside_ = fine_channel < p.fine.c;
#pragma unroll
    for (int i = 0; i < T::coarse_copies; ++i)
      coarse_inside_[i] = coarse_channel + i * 8 * T::row_threads < p.coarse.c;
    // Positions before the first one, of at most one stage, belong to samples before the first.
    const int volume = p.width * p.height * p.depth, samples = T::positions / volume + 1,
              from = position + samples * volume;
    w_ = from % p.width, h_ = from / p.width % p.height;
    const int d = from / p.width / p.height % p.depth, n = from / volume - samples;
    d_ = 2 * d + kd - 1, end_d_ = 2 * p.depth + kd - 1;
    const View<const bfloat16>&f = p.fine, &c = p.coarse;
    fine_ = static_cast<int>(n * f.stride_n + d_ * f.stride_d + 2 * h_ * f.stride_h + 2 * w_ * f.stride_w) +
            fine_channel;
    coarse_ = static_cast<int>(n * c.stride_n + d * c.stride_d + h_ * c.stride_h + w_ * c.stride_w) +
              coarse_channel;
    if constexpr (T::fine_copies == 2) {
      const bool odd = T::odd(thread);
      rows_ = odd ? p.odd_height : p.height;
      columns_[0] = odd ? p.odd_width : p.width, columns_[1] = odd ? p.width : p.odd_width;
      if (odd) fine_ += p.fine_stride_h + p.fine_stride_w;
      beside_ = odd ? -p.fine_stride_w : p.fine_stride_w;
    }
  }

  // Starts the copies to this thread's places in the rings and goes on to the next stage.
  __device__ __forceinline__ void copy(const Problem& p, const Cut& cut, uint32_t fine_to,
                                       uint32_t coarse_to) {
    const bool there = static_cast<unsigned>(position_) < static_cast<unsigned>(count_),
               both = there && static_cast<unsigned>(d_) < static_cast<unsigned>(p.fine_depth),
               plane = both && fine_inside_;
    const bfloat16* const fine = p.fine.data;
    if constexpr (T::fine_copies == 2) {
      const bool row = plane && h_ < rows_;
      ptx::copy_16_async(fine_to, fine + fine_, row && w_ < columns_[0]);
      ptx::copy_16_async(fine_to ^ 64, fine + (fine_ + beside_), row && w_ < columns_[1]);
    } else {
#pragma unroll
      for (int parity = 0; parity < 4; ++parity) {
        const int odd_h = parity / 2, odd_w = parity % 2;
        const bool inside = plane && (odd_h == 0 || h_ < p.odd_height) && (odd_w == 0 || w_ < p.odd_width);
        const uint32_t place = T::fine_channels == 64 ? fine_to + parity * T::ring_pitch
                                                      : (fine_to ^ odd_w << 6) + odd_h * T::ring_pitch;
        ptx::copy_16_async(place, fine + (fine_ + odd_h * p.fine_stride_h + odd_w * p.fine_stride_w), inside);
      }
    }
#pragma unroll
    for (int i = 0; i < T::coarse_copies; ++i) {
      const uint32_t place = T::row_threads == 4 ? coarse_to ^ i << 6 : coarse_to + i * T::ring_bytes;
      ptx::copy_16_async(place, p.coarse.data + coarse_ + i * 8 * T::row_threads,
                         (T::outer ? there : both) && coarse_inside_[i]);
    }

    const Steps& step = cut.stage;
    position_ += T::positions, w_ += step.w, h_ += step.h, d_ += 2 * step.d;
    fine_ += step.fine, coarse_ += step.coarse;
    if (w_ >= p.width) w_ -= p.width, ++h_, fine_ += step.fine_row, coarse_ += step.coarse_row;
    if (h_ >= p.height) h_ -= p.height, d_ += 2, fine_ += step.fine_plane, coarse_ += step.coarse_plane;
    if (d_ >= end_d_) d_ -= 2 * p.depth, fine_ += step.fine_sample, coarse_ += step.coarse_sample;
  }

 private:
  int position_, count_;                   // from the first one that is copied
  int w_, h_, d_, end_d_, fine_, coarse_;  // d_: of the fine plane
  // With two copies, of a voxel and the one beside it: the rows and columns in which they are.
  int rows_, columns_[2], beside_;
  bool fine_inside_, coarse_inside_[T::coarse_copies];
};

// A lane's voxel in 16 of them: where its neighbours lie in the rings, and whether there are such.
template <class T>
class Neighbours {
 public:
  // `chunk`: of the fine channels. `position`: of the lane's voxel, in row `row` of a stage. `before`: the
  // fine plane is the one before; without, d_ never is 0.
  __device__ __forceinline__ Neighbours(const Problem& p, int row, int chunk, int position, bool before)
      : w_(position % p.width), h_(position / p.width % p.height) {
    if constexpr (T::outer) {
      d_ = position / p.width / p.height % p.depth + (before ? 0 : 1), end_d_ = p.depth + (before ? 0 : 1);
      if (before) row -= p.width * p.height;
    }
#pragma unroll
    for (int shift = 0; shift < 4; ++shift) {
      const int of_row = row - (shift / 2 * p.width + shift % 2);
      // Those before it are at odd places along W.
      const int half = T::fine_channels == 64 ? 0 : shift % 2 << 2;
      from_[shift] = static_cast<uint32_t>(of_row * row_bytes + ((chunk ^ half ^ of_row & 7) << 4));
    }
  }

  // Addresses by shift: of the voxel itself, of the one before, in the row above, both; where there is none,
  // of zeros behind the ring, in the same banks. `at`: the voxels' place in the rings. Goes `step` positions
  // on.
  __device__ __forceinline__ void next(uint32_t (&addresses)[4], const Problem& p, const Cut& cut,
                                       uint32_t rings, uint32_t at) {
    constexpr uint32_t voxel = 2 * T::ring_bytes - 1, zero = row_bytes - 1;
    const uint32_t plane = !T::outer || d_ > 0 ? voxel : zero, before = w_ > 0 ? plane : zero,
                   above = h_ > 0 ? plane : zero, mask[4] = {plane, before, above, before & above};
#pragma unroll
    for (int shift = 0; shift < 4; ++shift) {
      const uint32_t place = from_[shift] + at;
      addresses[shift] =
          rings + (place & mask[shift] & ~uint32_t{T::ring_bytes} | ~mask[shift] & T::ring_bytes);
    }
    w_ += cut.turn_w, h_ += cut.turn_h;
    if (w_ >= p.width) w_ -= p.width, ++h_;
    if constexpr (T::outer) {
      d_ += cut.turn_d;
      if (h_ >= p.height) h_ -= p.height, ++d_;
      if (d_ >= end_d_) d_ -= p.depth;
    } else {
      if (h_ >= p.height) h_ -= p.height;
    }
  }

 private:
  int w_, h_, d_, end_d_;
  uint32_t from_[4];
};

// sums += the nine taps of 16 voxels.
template <class T>
__device__ __forceinline__ void multiply(Sums& sums, const uint32_t (&fine)[4], uint32_t coarse) {
  uint32_t b[fragments / 2][4];
#pragma unroll
  for (int pair = 0; pair < fragments / 2; ++pair)
    ptx::load_matrix_x4_transposed(b[pair], coarse ^ pair << 5);
#pragma unroll
  for (int tap = 0; tap < taps; ++tap) {
    const int kh = tap / 3, kw = tap % 3, odd_h = kh != 1, odd_w = kw != 1;
    const uint32_t from = fine[(kh == 0) * 2 + (kw == 0)];
    uint32_t a[4];
    if constexpr (T::fine_channels == 64) {
      ptx::load_matrix_x4_transposed(a, from + (odd_h * 2 + odd_w) * T::ring_pitch);
    } else {
      ptx::load_matrix_x4_transposed(a, (kw == 2 ? from ^ 64 : from) + odd_h * T::ring_pitch);
    }
#pragma unroll
    for (int j = 0; j < fragments; ++j)
      ptx::mma_m16n8k16(sums[tap][j], a, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
  }
}

// Adds the sums of the second half of the warps to those of the first.
__device__ __forceinline__ void add_halves(Sums& sums, float* shared, int half) {
  constexpr int of_half = threads / 2;
  float* const own = shared + threadIdx.x % of_half;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < StridedGemmWgradTile::sums; ++i) {
    if (half == 1) own[i * of_half] = sums[i / 16][i / 4 % 4][i % 4];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < StridedGemmWgradTile::sums; ++i) {
    if (half == 0) sums[i / 16][i / 4 % 4][i % 4] += own[i * of_half];
  }
}

// Adds the block's sums to the gradient, whose taps lie inside, with the nine of a kd behind each other: 8
// coarse channels of each warp at a time go through shared memory, then a warp adds three runs of nine at a
// time, of one coarse channel.
template <class T>
__device__ __forceinline__ void add_to_gradient(const Problem& p, const Part& part, const Sums& sums,
                                                float* shared) {
  constexpr int turns = (T::runs + 2) / 3;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32,
            warp_f = warp % T::warps_f, warp_c = warp / T::warps_f % T::warps_c,
            plane = T::outer ? warp / T::warps_f / T::warps_c : 0;
  const int fine_channels = static_cast<int>(p.fine.c), coarse_channels = static_cast<int>(p.coarse.c),
            runs = min(T::fine_channels, fine_channels - part.fine_first) * T::planes;
  // Runs `first` and, with two kd, first + 3, from which on they repeat.
  const int first = lane / 9;
  const auto run_offset = [&](int run) {
    return T::outer ? run / 2 * 27 + run % 2 * 18 + lane % 9 : run * 27 + part.kd * 9 + lane % 9;
  };
  const int offsets[2] = {run_offset(first), run_offset(first + 3)};
  float* const to_shared = shared + (warp_c * 8 + lane % 4 * 2) * T::row_pitch +
                           ((warp_f * 16 + lane / 4) * T::planes + plane) * 9;
#pragma unroll
  for (int j = 0; j < fragments; ++j) {
    __syncthreads();
    if (thread < T::holders) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
#pragma unroll
        for (int tap = 0; tap < taps; ++tap)
          to_shared[e % 2 * T::row_pitch + e / 2 * 8 * T::planes * 9 + tap] = sums[tap][j][e];
      }
    }
    __syncthreads();
    for (int row = warp; row < T::rows; row += StridedGemmTile::warps) {
      const int channel = part.coarse_first + row / 8 * 32 + j * 8 + row % 8;
      if (channel >= coarse_channels || first == 3) continue;
      float* const to = p.dweight + (int64_t{channel} * fine_channels + part.fine_first) * 27;
      const auto place = [&](int turn) {
        return T::outer ? to + offsets[turn % 2] + turn / 2 * 81 : to + offsets[0] + turn * 81;
      };
      float values[turns];
#pragma unroll
      for (int turn = 0; turn < turns; ++turn) values[turn] = turn * 3 + first < runs ? *place(turn) : 0.0f;
#pragma unroll
      for (int turn = 0; turn < turns; ++turn) {
        if (turn * 3 + first < runs)
          *place(turn) = values[turn] + shared[row * T::row_pitch + turn * 27 + lane];
      }
    }
  }
}

template <class T>
__device__ __forceinline__ void compute(const Problem& p, const Cut& cut, const Part& part,
                                        unsigned char* shared_memory) {
  const uint32_t rings = ptx::shared_address(shared_memory);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32,
            warp_f = warp % T::warps_f, warp_c = warp / T::warps_f % T::warps_c,
            group = warp / T::warps_f / T::warps_c, half = T::outer ? 0 : group;
  const bool plane_before = T::outer && group == 0;
  const int begin = static_cast<int>(int64_t{cut.stages} * part.piece / p.pieces),
            end = static_cast<int>(int64_t{cut.stages} * (part.piece + 1) / p.pieces);
  if (thread < T::fine_rings * 8)
    ptx::store_shared_16(rings + thread / 8 * T::ring_pitch + T::ring_bytes + thread % 8 * 16, 0, 0, 0, 0);

  // Copies begin with the stage before, into which the taps reach back.
  const int copied_row = T::copied_row(thread), copied_by = thread % T::row_threads,
            reach = p.width + 1 + (T::outer ? p.width * p.height : 0);
  StageRow<T> row(p, part, (begin - 1) * T::positions + copied_row, max(begin * T::positions - reach, 0));
  const uint32_t fine_to = rings + T::odd(thread) * T::ring_pitch +
                           (gemm_offset(8, copied_row, copied_by % T::fine_chunks) ^ T::odd(thread) << 6),
                 coarse_to = rings + T::fine_rings * T::ring_pitch + gemm_offset(8, copied_row, copied_by);
  const auto copy = [&](int stage) {
    const uint32_t at = (stage + ring) % ring * (T::positions * row_bytes);
    if (stage < end) row.copy(p, cut, fine_to + at, coarse_to + at);
    ptx::commit_copies();
  };
#pragma unroll
  for (int stage = -1; stage < ahead; ++stage) copy(begin + stage);

  // A lane's row in 16 voxels, see load_matrix_x4_transposed(): matrices (voxels 0-7; channels 0-7, 8-15),
  // (8-15; the same) for A, (channels 0-7; voxels 0-7, 8-15), (8-15; the same) for B.
  const int fine_row = half * 16 + lane / 16 * 8 + lane % 8,
            coarse_row = half * 16 + lane / 8 % 2 * 8 + lane % 8;
  Neighbours<T> neighbours(p, fine_row, 2 * warp_f + lane / 8 % 2, begin * T::positions + fine_row,
                           plane_before);
  const uint32_t coarse = rings + T::fine_rings * T::ring_pitch + warp_c / 2 * T::ring_bytes +
                          gemm_offset(8, coarse_row, warp_c % 2 * fragments + lane / 16);
  Sums sums = {};
#pragma unroll 1
  for (int stage = begin; stage < end; ++stage) {
    ptx::wait_copies<ahead - 1>();
    __syncthreads();  // this stage is there, and what the next copies replace is done with
    copy(stage + ahead);
#pragma unroll
    for (int turn = 0; turn < T::turns; ++turn) {
      const uint32_t at = stage % ring * (T::positions * row_bytes) + turn * T::halves * 16 * row_bytes;
      uint32_t fine[4];
      neighbours.next(fine, p, cut, rings, at);
      multiply<T>(sums, fine, coarse + at);
    }
  }
  ptx::wait_copies<0>();
  float* const shared = reinterpret_cast<float*>(shared_memory);
  if constexpr (T::halves > 1) add_halves(sums, shared, half);
  const int tiles = p.cuts[0].blocks + p.cuts[1].blocks;
  if (p.meetings.add<T::holders>(sums, p.pieces, part.piece, tiles, part.tile,
                                 reinterpret_cast<unsigned*>(shared_memory)))
    add_to_gradient<T>(p, part, sums, shared);
}

// Blocks that share their voxels run at the same time and find them in the second-level cache.
template <class T>
__global__ void __launch_bounds__(threads, 1) strided_gemm_wgrad_kernel(Problem p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const Cut& cut = p.cuts[0];
  const int block = static_cast<int>(blockIdx.x), tile = block % cut.blocks, channels = tile / 3;
  compute<T>(p, cut,
             {block / cut.blocks, tile, tile % 3, channels % cut.fine_blocks * T::fine_channels,
              channels / cut.fine_blocks * T::coarse_channels},
             shared_memory);
}

// The same where kd = 0 and 2 share blocks; others take kd = 1.
template <class Middle, class Outer>
__global__ void __launch_bounds__(threads, 1) strided_gemm_wgrad_planes_kernel(Problem p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int tiles = p.cuts[0].blocks + p.cuts[1].blocks, block = static_cast<int>(blockIdx.x),
            tile = block % tiles, outer = tile - p.cuts[0].blocks;
  if (outer < 0) {
    const Cut& cut = p.cuts[0];
    compute<Middle>(p, cut,
                    {block / tiles, tile, 1, tile % cut.fine_blocks * Middle::fine_channels,
                     tile / cut.fine_blocks * Middle::coarse_channels},
                    shared_memory);
  } else {
    const Cut& cut = p.cuts[1];
    compute<Outer>(p, cut,
                   {block / tiles, tile, 2, outer % cut.fine_blocks * Outer::fine_channels,
                    outer / cut.fine_blocks * Outer::coarse_channels},
                   shared_memory);
  }
}

Steps steps_of(const View<const bfloat16>& coarse, const View<const bfloat16>& fine, int64_t count) {
  const int64_t w = count % coarse.w, rows = count / coarse.w, h = rows % coarse.h, planes = rows / coarse.h,
                d = planes % coarse.d, n = planes / coarse.d;
  const auto offset = [&](const View<const bfloat16>& v, int64_t scale) {
    return static_cast<int>(scale * (w * v.stride_w + h * v.stride_h + d * v.stride_d) + n * v.stride_n);
  };
  const auto carry = [](int64_t next, int64_t extent, int64_t stride) {
    return static_cast<int>(next - extent * stride);
  };
  return {static_cast<int>(w),
          static_cast<int>(h),
          static_cast<int>(d),
          offset(fine, 2),
          offset(coarse, 1),
          carry(2 * fine.stride_h, coarse.w, 2 * fine.stride_w),
          carry(2 * fine.stride_d, coarse.h, 2 * fine.stride_h),
          carry(fine.stride_n, coarse.d, 2 * fine.stride_d),
          carry(coarse.stride_h, coarse.w, coarse.stride_w),
          carry(coarse.stride_d, coarse.h, coarse.stride_h),
          carry(coarse.stride_n, coarse.d, coarse.stride_d)};
}

// With so many kd that blocks do not share.
template <class T>
Cut cut_of(const View<const bfloat16>& coarse, const View<const bfloat16>& fine, int planes) {
  const auto divide_up = [](int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); };
  const int fine_blocks = divide_up(fine.c, T::fine_channels);
  const Steps turn = steps_of(coarse, fine, 16 * T::halves);
  return {divide_up(coarse.voxels(), T::positions),
          fine_blocks,
          planes * fine_blocks * divide_up(coarse.c, T::coarse_channels),
          steps_of(coarse, fine, T::positions),
          turn.w,
          turn.h,
          turn.d};
}

// `outer`: of the outer tile's blocks, if there are such.
void launch(void (*kernel)(Problem), int shared_bytes, const Cut& cut, const Cut& outer, float* dweight,
            const View<const bfloat16>& coarse, const View<const bfloat16>& fine, int64_t pieces,
            const Exec& exec) {
  const int blocks = cut.blocks + outer.blocks;
  // Storing a block's sums, 144 KiB, and adding them: the time of the products of half a stage.
  if (pieces == 0) pieces = strided_gemm_pieces(blocks, cut.stages, 32);
  WorkspaceScope scope(*exec.workspace);
  const PieceMeetings meetings =
      prepare_meetings(scope, (pieces - 1) * blocks, threads * StridedGemmWgradTile::sums, exec);
  // More than 48 KiB must be asked for; strided_gemm_wgrad_applies() has seen that the device has it.
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  kernel<<<blocks_for(pieces * blocks, 1), threads, static_cast<size_t>(shared_bytes), stream_of(exec)>>>(
      {coarse,
       fine,
       dweight,
       meetings,
       static_cast<int>(pieces),
       static_cast<int>(coarse.voxels()),
       static_cast<int>(coarse.w),
       static_cast<int>(coarse.h),
       static_cast<int>(coarse.d),
       static_cast<int>(fine.w / 2),
       static_cast<int>(fine.h / 2),
       static_cast<int>(fine.d),
       static_cast<int>(fine.stride_w),
       static_cast<int>(fine.stride_h),
       {cut, outer}});
  check_launch();
}

template <class T>
void launch_one(float* dweight, const View<const bfloat16>& coarse, const View<const bfloat16>& fine,
                int64_t pieces, const Exec& exec) {
  launch(strided_gemm_wgrad_kernel<T>, T::shared_bytes, cut_of<T>(coarse, fine, 3), {}, dweight, coarse, fine,
         pieces, exec);
}

}  // namespace

void conv3d_backward_weight_strided_gemm(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                         const Exec& exec, int64_t pieces) {
  if (dy.elements() == 0) return;
  const StridedGemmWgradTile tile = strided_gemm_wgrad_tile(x.c, dy.c);
  if (strided_gemm_wgrad_outer_applies(x.c, dy.c, dy.h, dy.w)) {
    using Middle = Tile<32, 128>;
    using Outer = Tile<32, 64, true>;
    static_assert(Middle::shared_bytes <= Outer::shared_bytes);
    return launch(strided_gemm_wgrad_planes_kernel<Middle, Outer>, Outer::shared_bytes,
                  cut_of<Middle>(dy, x, 1), cut_of<Outer>(dy, x, 1), dweight, dy, x, pieces, exec);
  }
  if (tile.coarse_channels == 128) return launch_one<Tile<32, 128>>(dweight, dy, x, pieces, exec);
  if (tile.fine_channels == 32) return launch_one<Tile<32, 64>>(dweight, dy, x, pieces, exec);
  launch_one<Tile<64, 64>>(dweight, dy, x, pieces, exec);
}

}  // namespace vg::kernels::cuda
