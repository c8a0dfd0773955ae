// What the tensor-core passes of the attention gate share: tiles of 16 voxels that a warp copies into shared
// memory ahead of their use, and the two convolutions of a tile as matrix products.
#pragma once

#include "kernels/attention_gate/attention_gate_coefficient.cuh"
#include "kernels/attention_gate/attention_gate_cuda.h"
#include "kernels/common/bfloat16.h"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/integer.cuh"
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/common/ptx/vector_access.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/voxel_pointer.cuh"
#include "kernels/conv3d/conv3d_input_norm.cuh"

namespace vg::kernels::cuda {

/// Voxels of a tile: the rows of an mma.
inline constexpr int tile_voxels = 16;

/// Sizes that follow from the channels of g and x.
template <int Channels>
struct GateSizes {
  static constexpr int channels = Channels, intermediate = Channels / 2;
  static constexpr int steps = Channels / 16;         ///< mma along the channels
  static constexpr int fragments = intermediate / 8;  ///< mma along the intermediate channels
  static constexpr int out_fragments = Channels / 8;  ///< mma along the channels of dg and dx
  /// Steps that one load of 8 or 16 bytes a lane serves.
  static constexpr int block_steps = Channels == 16 ? 1 : 2, blocks = steps / block_steps;
  /// Intermediate channels are taken in groups, at most 16 at once, as registers allow.
  static constexpr int group_fragments = fragments < 2 ? 1 : 2, group = 8 * group_fragments,
                       groups = fragments / group_fragments;
  static constexpr int tile_bytes = tile_voxels * Channels * 2;
  /// Warps of a block and stages of their rings: below 48 KiB a block with three tensors, and at 16 channels
  /// three blocks on a multiprocessor of an A100.
  static constexpr int warps = Channels == 16 ? 8 : Channels == 32 ? 4 : Channels == 64 ? 2 : 1;
  static constexpr int stages = Channels <= 32 ? 3 : 2;
  static constexpr int threads = 32 * warps;
  /// Blocks that fit into a multiprocessor's shared memory, where these are warps of their own: told to the
  /// compiler, which otherwise spills registers to make room for more. 0: its choice.
  static constexpr int resident_blocks = Channels == 128 ? 8 : 0;
  static constexpr int forward_blocks = Channels == 16 ? 3 : Channels == 32 ? 4 : 8;  ///< of the forward pass

  static constexpr int stage_bytes(int tensors) { return tensors * tile_bytes + tile_voxels * 4; }
  static constexpr int ring_bytes(int tensors) { return warps * stages * stage_bytes(tensors); }
  /// Where 16-byte chunk `chunk` of voxel v lies in a tile: permuted so that both 8 voxels at one chunk
  /// (ldmatrix) and whole voxels in order touch all banks.
  __device__ static constexpr int offset(int v, int chunk) {
    const int key = Channels == 16 ? v >> 2 & 1 : Channels == 32 ? v >> 1 & 3 : (v & 1) << 2 | (v >> 1 & 3);
    return v * Channels * 2 + ((chunk ^ key) * 16);
  }
};

/// Where a tile of 16 neighbours along w lies. `Flat`: along the whole volume, where each view has one
/// stride.
template <bool Flat>
struct TilePlace {
  int n, d, h;  ///< 0 if flat
  int w;
  int count;  ///< voxels, at most 16
};

/// The tiles of a volume. Blocks take contiguous ranges of them; their number depends on the problem alone.
struct TileGrid {
  int h, d, width, tiles_a_row, tiles, pieces;

  template <bool Flat>
  __device__ __forceinline__ TilePlace<Flat> place(int tile) const {
    TilePlace<Flat> p{0, 0, 0, tile * tile_voxels, 0};
    if constexpr (!Flat) {
      int row = tile / tiles_a_row;
      p.w = (tile - row * tiles_a_row) * tile_voxels;
      p.h = row % h;
      row /= h;
      p.d = row % d;
      p.n = row / d;
    }
    p.count = min(tile_voxels, width - p.w);
    return p;
  }
  __device__ int begin(int piece) const { return static_cast<int>(int64_t{tiles} * piece / pieces); }
};

/// Voxel v of a tile: in a flat volume one multiplication of 32 bits.
template <class T, bool Flat>
__device__ __forceinline__ T* pointer(const View<T>& view, const TilePlace<Flat>& p, int v) {
  T* row = view.data;
  if constexpr (!Flat) row += p.n * view.stride_n + p.d * view.stride_d + p.h * view.stride_h;
  return reinterpret_cast<T*>(
      ptx::multiply_add_wide(p.w + v, static_cast<int>(view.stride_w) * static_cast<int>(sizeof(T)),
                             reinterpret_cast<int64_t>(row)));
}

/// Constants of an intermediate channel; index 0 is the branch of g, 1 that of x. The convolutions are
/// computed without their biases: normalised = value * factor + offset.
struct alignas(16) HiddenConstants {
  float factor[2], offset[2];
  float gamma[2], beta, weight_psi;  ///< beta: of both branches
  float mean_gradient[3], unused;    ///< of dh, dh * normalised g, dh * normalised x

  /// As loads of 16 bytes.
  __device__ __forceinline__ static HiddenConstants load(const HiddenConstants* from) {
    const auto* const quads = reinterpret_cast<const float4*>(from);
    const float4 a = __ldg(quads), b = __ldg(quads + 1), c = __ldg(quads + 2);
    return {{a.x, a.y}, {a.z, a.w}, {b.x, b.y}, b.z, b.w, {c.x, c.y, c.z}, c.w};
  }
};

/// Of psi's batch norm; the means of dz and dz * normalised are 0 where the statistics are fixed.
struct PsiConstants {
  float mean, factor, gamma, beta, bias, mean_dz, mean_product;
};

/// What the kernels get. Fragments of the rounded weights, per lane and in the order of the mma: 16 bytes
/// hold b0 and b1 of W_g and of W_x.
struct TensorGate {
  View<const bfloat16> inputs[3];  ///< g, x, dy
  View<const float> scores;
  View<const bfloat16> dg_so_far;  ///< added to dg, or null
  const uint4 *forward_fragments, *backward_fragments;
  const HiddenConstants* hidden;
  const PsiConstants* psi;
  TileGrid grid;
  NormArguments norms[2];  ///< of g and x; none if mean is null
  float* norm_sums;        ///< of backward: [piece][channel][2] for the norm of g, or null
};

/// Channel of pair `pair` (of 2 * steps), lane quarter q and element e: 8 or 16 contiguous bytes of a voxel
/// for each lane. The products over channels may take them in any order; dg and dx come out in the same.
template <int Channels>
__device__ constexpr int channel_of(int pair, int q, int e) {
  return Channels == 16 ? 4 * q + 2 * pair + e : pair / 4 * 32 + 8 * q + pair % 4 * 2 + e;
}

/// The lane's share of a tile of 16 voxels in shared memory, as fragments of A for block after block of
/// channels: [step][pair 0: row g, row g + 8, pair 1: the same]. A single block stays in registers; of more,
/// a block is read when it is needed.
template <int Channels>
class Rows {
 public:
  using S = GateSizes<Channels>;

  __device__ __forceinline__ explicit Rows(uint32_t tile) : tile_(tile) {
    if constexpr (S::blocks == 1) load(0, kept_);
  }
  __device__ __forceinline__ void get(int block, uint32_t (&a)[S::block_steps][4]) const {
    if constexpr (S::blocks == 1) {
#pragma unroll
      for (int i = 0; i < S::block_steps * 4; ++i) a[i / 4][i % 4] = kept_[i / 4][i % 4];
    } else {
      load(block, a);
    }
  }

 private:
  __device__ __forceinline__ void load(int block, uint32_t (&a)[S::block_steps][4]) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, row = lane / 4, q = lane % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if constexpr (Channels == 16) {
        uint32_t words[2];
        ptx::load_shared_8(words, tile_ + S::offset(row + 8 * half, q / 2) + q % 2 * 8);
        a[0][half] = words[0], a[0][2 + half] = words[1];
      } else {
        uint32_t words[4];
        ptx::load_shared_16(words, tile_ + S::offset(row + 8 * half, 4 * block + q));
        a[0][half] = words[0], a[0][2 + half] = words[1];
        a[1][half] = words[2], a[1][2 + half] = words[3];
      }
    }
  }

  uint32_t tile_;
  uint32_t kept_[S::blocks == 1 ? S::block_steps : 1][4];
};

/// Values of the convolutions of a group: [fragment of 8 channels][row g: 2q, 2q+1, row g+8: 2q, 2q+1].
template <int Channels>
struct Convolved {
  using S = GateSizes<Channels>;
  float of_g[S::group_fragments][4] = {}, of_x[S::group_fragments][4] = {};

  __device__ __forceinline__ Convolved(const TensorGate& gate, int group, const Rows<Channels>& g,
                                       const Rows<Channels>& x) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll(Channels >= 64 ? 1 : S::blocks)  // registers
    for (int block = 0; block < S::blocks; ++block) {
      uint32_t a_g[S::block_steps][4], a_x[S::block_steps][4];
      g.get(block, a_g);
      x.get(block, a_x);
#pragma unroll
      for (int i = 0; i < S::block_steps; ++i) {
#pragma unroll
        for (int n = 0; n < S::group_fragments; ++n) {
          uint32_t b[4];
          ptx::load_constant_16(
              b, gate.forward_fragments +
                     ((block * S::block_steps + i) * S::fragments + group * S::group_fragments + n) * 32 +
                     lane);
          ptx::mma_m16n8k16(of_g[n], a_g[i], b[0], b[1]);
          ptx::mma_m16n8k16(of_x[n], a_x[i], b[2], b[3]);
        }
      }
    }
  }
};

/// The branches of one intermediate channel at one voxel.
struct HiddenValue {
  float normalised[2], before_relu;
  __device__ __forceinline__ HiddenValue(const HiddenConstants& k, float of_g, float of_x)
      : normalised{fmaf(of_g, k.factor[0], k.offset[0]), fmaf(of_x, k.factor[1], k.offset[1])},
        before_relu(fmaf(normalised[0], k.gamma[0], fmaf(normalised[1], k.gamma[1], k.beta))) {}
};

/// Sum over the four lanes that share voxels.
__device__ __forceinline__ float quad_sum(float value) {
  value += __shfl_xor_sync(0xFFFFFFFFu, value, 1);
  return value + __shfl_xor_sync(0xFFFFFFFFu, value, 2);
}
/// Sum over the eight lanes that share channels.
template <class T>
__device__ __forceinline__ T column_sum(T value) {
  value += __shfl_xor_sync(0xFFFFFFFFu, value, 4);
  value += __shfl_xor_sync(0xFFFFFFFFu, value, 8);
  return value + __shfl_xor_sync(0xFFFFFFFFu, value, 16);
}

/// The table of the norm of g or x, of this block: see for_each_tile().
template <int Channels>
__device__ __forceinline__ float* gate_norm_floats(int tensor) {
  constexpr int floats = (NormTable<Channels>::floats + 3) / 4 * 4;
  __shared__ __align__(16) float tables[2 * floats];
  return tables + tensor * floats;
}

/// Calls body(address of the tile's tensors, place) for the tiles of this warp, copying `Tensors` inputs (and
/// behind them the scores, if `WithScores`) some tiles ahead. Voxels beyond the row read as zero. A norm of g
/// or x is applied to the copy, each lane to what it has copied itself. For all threads of a block.
template <int Channels, bool Flat, int Tensors, bool WithScores, class Body>
__device__ __forceinline__ void for_each_tile(const TensorGate& gate, int piece, unsigned char* shared,
                                              const Body& body) {
  using S = GateSizes<Channels>;
  constexpr int stage_bytes = S::stage_bytes(Tensors), chunks = Channels / 8;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const uint32_t ring = ptx::shared_address(shared) + warp * S::stages * stage_bytes;
  const int end = gate.grid.begin(piece + 1);
  const auto copy = [&](int tile, int slot) {
    if (tile < end) {
      const TilePlace<Flat> place = gate.grid.place<Flat>(tile);
      const uint32_t stage = ring + slot * stage_bytes;
#pragma unroll(Channels == 128 ? 2 : tile_voxels * chunks / 32)  // registers
      for (int i = 0; i < tile_voxels * chunks / 32; ++i) {
        const int v = lane / chunks + i * (32 / chunks), chunk = lane % chunks;
        const bool inside = v < place.count;
#pragma unroll
        for (int tensor = 0; tensor < Tensors; ++tensor) {
          ptx::copy_16_async(stage + tensor * S::tile_bytes + S::offset(v, chunk),
                             pointer(gate.inputs[tensor], place, inside ? v : 0) + chunk * 8, inside);
        }
      }
      if (WithScores && lane < tile_voxels) {
        const bool inside = lane < place.count;
        ptx::copy_4_async(stage + Tensors * S::tile_bytes + lane * 4,
                          pointer(gate.scores, place, inside ? lane : 0), inside);
      }
    }
    ptx::commit_copies();
  };
  // The norms' parameters stay in shared memory: loaded for each tile, they need no registers between.
  using Table = NormTable<Channels>;
#pragma unroll
  for (int tensor = 0; tensor < 2; ++tensor) {
    if (gate.norms[tensor].mean != nullptr) [[maybe_unused]]
      const Table fill(gate_norm_floats<Channels>(tensor), gate.norms[tensor], 0, 0);
  }
  __syncthreads();
  const auto normalise = [&](int tensor, int slot, int count) {
    const Table table(gate_norm_floats<Channels>(tensor), gate.norms[tensor].relu);
#pragma unroll 1
    for (int v = lane / chunks; v < count; v += 32 / chunks)
      table.apply_once(lane % chunks,
                       ring + slot * stage_bytes + tensor * S::tile_bytes + S::offset(v, lane % chunks));
  };
  int tile = gate.grid.begin(piece) + warp;
  for (int stage = 0; stage < S::stages - 1; ++stage) copy(tile + stage * S::warps, stage);
  for (int slot = 0; tile < end; tile += S::warps) {
    ptx::wait_copies<S::stages - 2>();
#pragma unroll
    for (int tensor = 0; tensor < 2; ++tensor) {
      if (gate.norms[tensor].mean != nullptr) normalise(tensor, slot, gate.grid.place<Flat>(tile).count);
    }
    __syncwarp();  // the copies of all lanes are there, and the stage before is no longer read
    copy(tile + (S::stages - 1) * S::warps, slot == 0 ? S::stages - 1 : slot - 1);
    body(ring + slot * stage_bytes, gate.grid.place<Flat>(tile));
    slot = slot + 1 == S::stages ? 0 : slot + 1;
  }
  ptx::wait_copies<0>();
}

/// Adds the warps' `count` sums of type T, [warp][count] in shared memory, in order and in double into
/// partials[(first + i) * pieces + piece]. The block's barrier before is the caller's.
template <class T>
__device__ inline void add_warps(double* partials, const T* shared, int count, int64_t first, int64_t pieces,
                                 int64_t piece) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    double sum = 0;
    for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp)
      sum += static_cast<double>(shared[warp * count + i]);
    partials[(first + i) * pieces + piece] = sum;
  }
}

/// finish(i, the sum of partials[i][piece] over the pieces), a warp for each i < count.
template <class F>
__global__ void finish_warp_sums_kernel(F finish, const double* partials, int64_t count, int64_t pieces) {
  const int64_t i = thread_index() / 32;
  if (i >= count) return;
  double sum = 0;
  for (int64_t piece = threadIdx.x % 32; piece < pieces; piece += 32) sum += partials[i * pieces + piece];
  sum = warp_reduce(sum, Plus{});
  if (threadIdx.x % 32 == 0) finish(i, sum);
}

// --- Host side ---------------------------------------------------------------------------------------------

/// Calls body(GateCase) for the number of channels and whether the volume is flat.
template <int Channels, bool Flat>
struct GateCase {
  static constexpr int channels = Channels;
  static constexpr bool flat = Flat;
};
template <class Body>
void dispatch_gate(int64_t channels, bool flat, const Body& body) {
  const auto with_channels = [&]<int Channels>() {
    if (flat) return body(GateCase<Channels, true>{});
    body(GateCase<Channels, false>{});
  };
  switch (channels) {
    case 16:
      return with_channels.template operator()<16>();
    case 32:
      return with_channels.template operator()<32>();
    case 64:
      return with_channels.template operator()<64>();
    default:
      return with_channels.template operator()<128>();
  }
}

/// The grid of tiles over x if all views have one stride (`flat`) or not.
TileGrid make_tile_grid(const View<const bfloat16>& x, bool flat);

/// Pieces so that a warp gets about `tiles_a_warp` tiles, and a large volume enough blocks to fill any GPU
/// evenly.
inline TileGrid with_pieces(TileGrid grid, int warps, int tiles_a_warp) {
  const int tiles = warps * tiles_a_warp;
  grid.pieces = std::clamp((grid.tiles + tiles - 1) / tiles, 1, 4096);
  return grid;
}

/// Fragments and, if there are statistics, constants of the gate in memory of `scope`.
struct GateMemory {
  uint4 *forward_fragments, *backward_fragments;
  HiddenConstants* hidden;
  PsiConstants* psi;
};
GateMemory allocate_gate_memory(int64_t channels, WorkspaceScope& scope);
void pack_gate_weights(const GateMemory& memory, const AttentionGateWeights& weights, int64_t channels,
                       const Exec& exec);
void set_hidden_constants(const GateMemory& memory, const AttentionGateWeights& weights,
                          const AttentionGateStatistics& statistics, const AttentionGateParams& params,
                          const Exec& exec);
void set_psi_constants(const GateMemory& memory, const AttentionGateWeights& weights,
                       const AttentionGateStatistics& statistics, const AttentionGateParams& params,
                       const Exec& exec);

}  // namespace vg::kernels::cuda
