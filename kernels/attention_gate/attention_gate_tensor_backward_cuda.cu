// The backward pass on tensor cores, in two passes over the volume:
//   sums: reads g, x, dy, scores; all sums for psi's batch norm and for the branches
//   apply: reads the same, writes dg and dx and sums the gradients of W_g and W_x
// The gradient ds of a score is dz - mean(dz) - normalised mean(dz normalised), up to a factor: linear in
// three numbers a voxel, of which the means are sums of the first pass. So that pass sums the products of
// (dz, 1, normalised) with (1, a^, u^) where h > 0, and what belongs to ds is put together afterwards.
#include "kernels/attention_gate/attention_gate_tile.cuh"
#include "kernels/conv3d/conv3d_moments.cuh"
#include "kernels/norm3d/norm3d_impl.h"

namespace vg::kernels::cuda {

namespace {

constexpr int voxel_terms = 3, branch_terms = 3, hidden_sums = voxel_terms * branch_terms, psi_sums = 3;

__device__ __forceinline__ float low(uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float high(uint32_t pair) {
  return __uint_as_float(pair & 0xFFFF0000u);
}

// What both passes know of a voxel: the coefficient, the gradient of the sigmoid's argument, the normalised
// score.
struct VoxelGradient {
  float coefficient, dz, normalised;
};

// Of the lane's rows g and g + 8. `scores`: address of the tile's in shared memory.
template <int Channels>
__device__ __forceinline__ void voxel_gradients(VoxelGradient (&out)[2], const PsiConstants& psi,
                                                uint32_t scores, const Rows<Channels>& x,
                                                const Rows<Channels>& dy) {
  using S = GateSizes<Channels>;
  const int row = static_cast<int>(threadIdx.x) % 32 / 4;
  float dot[2] = {};
#pragma unroll(Channels == 128 ? 1 : S::blocks)  // registers
  for (int block = 0; block < S::blocks; ++block) {
    uint32_t a[S::block_steps][4], b[S::block_steps][4];
    x.get(block, a);
    dy.get(block, b);
#pragma unroll
    for (int i = 0; i < S::block_steps * 4; ++i) {
      const uint32_t u = a[i / 4][i % 4], v = b[i / 4][i % 4];
      dot[i % 2] = fmaf(low(u), low(v), fmaf(high(u), high(v), dot[i % 2]));
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float score = ptx::load_shared_float(scores + (row + 8 * half) * 4);
    const float normalised = (score - psi.mean) * psi.factor;
    const float p = sigmoid(fmaf(normalised, psi.gamma, psi.beta));
    out[half] = {p, quad_sum(dot[half]) * p * (1 - p), normalised};
  }
}

// Blocks ride grid.x as [group][piece]. partials: [group][f][hidden_sums], [psi_sums] for each piece.
template <int Channels, bool Flat>
__global__ void __launch_bounds__(GateSizes<Channels>::threads,
                                  Channels == 32 ? 3 : GateSizes<Channels>::resident_blocks)
    gradient_sums_kernel(const __grid_constant__ TensorGate gate, double* partials) {
  using S = GateSizes<Channels>;
  extern __shared__ __align__(16) unsigned char shared[];
  const int piece = static_cast<int>(blockIdx.x) % gate.grid.pieces;
  const int group = static_cast<int>(blockIdx.x) / gate.grid.pieces,
            lane = static_cast<int>(threadIdx.x) % 32, row = lane / 4, q = lane % 4;
  const PsiConstants psi = *gate.psi;
  constexpr int columns = 2 * S::group_fragments;
  float sums[columns][hidden_sums] = {}, of_psi[psi_sums] = {};
  for_each_tile<Channels, Flat, 3, true>(
      gate, piece, shared, [&](uint32_t tile, const TilePlace<Flat>& place) {
        const Rows<Channels> g(tile), x(tile + S::tile_bytes), dy(tile + 2 * S::tile_bytes);
        VoxelGradient v[2];
        voxel_gradients<Channels>(v, psi, tile + 3 * S::tile_bytes, x, dy);
        float terms[2][voxel_terms];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const bool inside = row + 8 * half < place.count;
          terms[half][0] = inside ? v[half].dz : 0.0f;
          terms[half][1] = inside ? 1.0f : 0.0f;
          terms[half][2] = inside ? v[half].normalised : 0.0f;
          of_psi[0] += terms[half][0];
          of_psi[1] = fmaf(terms[half][0], terms[half][2], of_psi[1]);
          of_psi[2] += terms[half][2];
        }
        const Convolved<Channels> convolved(gate, group, g, x);
#pragma unroll
        for (int column = 0; column < columns; ++column) {
          const int n = column / 2;
          const auto k = HiddenConstants::load(gate.hidden + group * S::group + n * 8 + 2 * q + column % 2);
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int e = 2 * half + column % 2;
            const HiddenValue h(k, convolved.of_g[n][e], convolved.of_x[n][e]);
            const bool on = h.before_relu > 0;
#pragma unroll
            for (int t = 0; t < voxel_terms; ++t) {
              const float term = on ? terms[half][t] : 0.0f;
              float* const mine = sums[column] + t * branch_terms;
              mine[0] += term;
              mine[1] = fmaf(term, h.normalised[0], mine[1]);
              mine[2] = fmaf(term, h.normalised[1], mine[2]);
            }
          }
        }
      });
  __syncthreads();
  constexpr int sums_a_block = S::group * hidden_sums + psi_sums;
  auto* const mine = reinterpret_cast<double*>(shared) + threadIdx.x / 32 * sums_a_block;
#pragma unroll
  for (int column = 0; column < columns; ++column) {
#pragma unroll
    for (int i = 0; i < hidden_sums; ++i) {
      const double sum = column_sum(static_cast<double>(sums[column][i]));
      if (lane < 4) mine[(column / 2 * 8 + 2 * lane + column % 2) * hidden_sums + i] = sum;
    }
  }
#pragma unroll
  for (int i = 0; i < psi_sums; ++i) {
    const double sum = column_sum(static_cast<double>(of_psi[i]));
    if (lane == 0) mine[S::group * hidden_sums + i] = sum;
  }
  __syncthreads();
  add_warps(partials, reinterpret_cast<const double*>(shared), sums_a_block, int64_t{group} * sums_a_block,
            gate.grid.pieces, piece);
}

struct StoreSum {
  double* totals;
  __device__ void operator()(int64_t i, double sum) const { totals[i] = sum; }
};

// Adds to the gradients that the first pass settles, and leaves the means that the second needs. One thread
// for each intermediate channel.
__global__ void finish_sums_kernel(HiddenConstants* hidden, PsiConstants* psi, AttentionGateGradients d,
                                   const double* totals, int intermediate, int group, double voxels,
                                   bool fixed) {
  const int f = static_cast<int>(threadIdx.x), sums_a_group = group * hidden_sums + psi_sums;
  const double* const of_psi = totals + group * hidden_sums;
  const double factor = double{psi->gamma} * double{psi->factor};
  const double mean = fixed ? 0 : of_psi[0] / voxels, mean_product = fixed ? 0 : of_psi[1] / voxels;
  if (f == 0) {
    *d.beta_psi += static_cast<float>(of_psi[0]);
    *d.gamma_psi += static_cast<float>(of_psi[1]);
    *d.bias_psi += static_cast<float>(factor * (of_psi[0] - mean * voxels - mean_product * of_psi[2]));
    psi->mean_dz = static_cast<float>(mean);
    psi->mean_product = static_cast<float>(mean_product);
  }
  if (f >= intermediate) return;
  HiddenConstants& k = hidden[f];
  const double* const mine = totals + f / group * sums_a_group + f % group * hidden_sums;
  double ds[branch_terms];  // sums of ds, ds * a^, ds * u^ where h > 0
  for (int i = 0; i < branch_terms; ++i) {
    ds[i] = factor * (mine[i] - mean * mine[branch_terms + i] - mean_product * mine[2 * branch_terms + i]);
    k.mean_gradient[i] = fixed ? 0.0f : static_cast<float>(double{k.weight_psi} * ds[i] / voxels);
  }
  const double w = k.weight_psi;
  d.beta_g[f] += static_cast<float>(w * ds[0]);
  d.beta_x[f] += static_cast<float>(w * ds[0]);
  d.gamma_g[f] += static_cast<float>(w * ds[1]);
  d.gamma_x[f] += static_cast<float>(w * ds[2]);
  d.weight_psi[f] +=
      static_cast<float>(double{k.gamma[0]} * ds[1] + double{k.gamma[1]} * ds[2] + double{k.beta} * ds[0]);
}

// Gradients of the convolutions of one group, over the values of Convolved, zero outside of the volume.
template <int Channels>
__device__ __forceinline__ void convolution_gradients(Convolved<Channels>& convolved, const TensorGate& gate,
                                                      int group, const float (&ds)[2],
                                                      const bool (&inside)[2]) {
  const int q = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int column = 0; column < 2 * GateSizes<Channels>::group_fragments; ++column) {
    const int n = column / 2;
    const auto k =
        HiddenConstants::load(gate.hidden + group * GateSizes<Channels>::group + n * 8 + 2 * q + column % 2);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int e = 2 * half + column % 2;
      const HiddenValue h(k, convolved.of_g[n][e], convolved.of_x[n][e]);
      const float dh = (h.before_relu > 0 ? ds[half] * k.weight_psi : 0.0f) - k.mean_gradient[0];
      const float dg = k.gamma[0] * k.factor[0] * fmaf(-h.normalised[0], k.mean_gradient[1], dh),
                  dx = k.gamma[1] * k.factor[1] * fmaf(-h.normalised[1], k.mean_gradient[2], dh);
      convolved.of_g[n][e] = inside[half] ? dg : 0.0f;
      convolved.of_x[n][e] = inside[half] ? dx : 0.0f;
    }
  }
}

// Adds the rows of a view that the lane holds: [8 channels][row g: 2, row g + 8: 2].
template <int Channels, bool Flat>
__device__ __forceinline__ void add_rows(float (&d)[Channels / 8][4], const View<const bfloat16>& view,
                                         const TilePlace<Flat>& place, const bool (&inside)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, row = lane / 4, q = lane % 4;
  const auto add = [](float(&to)[4], int half, uint32_t packed) {
    to[2 * half] += ptx::low_bfloat16(packed);
    to[2 * half + 1] += ptx::high_bfloat16(packed);
  };
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const bfloat16* const in = pointer(view, place, row + 8 * half);
    if (!inside[half]) continue;
    if constexpr (Channels == 16) {
      uint32_t r[2];
      ptx::load_global_8(r, in + 4 * q);
      add(d[0], half, r[0]);
      add(d[1], half, r[1]);
    } else {
#pragma unroll
      for (int i = 0; i < Channels / 8; i += 4) {
        uint32_t r[4];
        ptx::load_global_16(r, in + 8 * i + 8 * q);
#pragma unroll
        for (int k = 0; k < 4; ++k) add(d[i + k], half, r[k]);
      }
    }
  }
}

// Writes the rows of dg or dx that the lane holds, in the same order.
template <int Channels, bool Flat>
__device__ __forceinline__ void store_rows(const View<bfloat16>& view, const TilePlace<Flat>& place,
                                           const bool (&inside)[2], const float (&d)[Channels / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, row = lane / 4, q = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    bfloat16* const out = pointer(view, place, row + 8 * half);
    if (!inside[half]) continue;
    const auto pair = [&](int i) { return ptx::pack_bfloat16(d[i][2 * half], d[i][2 * half + 1]); };
    if constexpr (Channels == 16) {
      ptx::store_global_8(out + 4 * q, pair(0), pair(1));
    } else {
#pragma unroll
      for (int i = 0; i < Channels / 8; i += 4)
        ptx::store_global_16(out + 8 * i + 8 * q, pair(i), pair(i + 1), pair(i + 2), pair(i + 3));
    }
  }
}

// Bytes of shared memory for the transposition of a group's gradients, for each warp.
template <int Channels>
constexpr int staging_bytes = 2 * GateSizes<Channels>::group_fragments* tile_voxels * 16;

// Sums of a group's gradients, and of their products with the inputs: [branch][16 channels][8 f].
template <int Channels>
struct WeightSums {
  using S = GateSizes<Channels>;
  float bias[2][2 * S::group_fragments] = {};
  float weight[2][Channels / 16][S::group_fragments][4] = {};

  // packed: [branch][fragment][row g, row g + 8] pairs of f. The sum over voxels needs voxels along the depth
  // of the mma: both factors are read transposed from shared memory.
  __device__ __forceinline__ void add(const uint32_t (&packed)[2][2][2], const Convolved<Channels>& gradients,
                                      uint32_t* staging, uint32_t tile) {
    const int lane = static_cast<int>(threadIdx.x) % 32, matrix = lane / 8, in_matrix = lane % 8;
#pragma unroll
    for (int n = 0; n < S::group_fragments; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        bias[0][2 * n + e % 2] += gradients.of_g[n][e];
        bias[1][2 * n + e % 2] += gradients.of_x[n][e];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
        staging[((i / 2 * S::group_fragments + n) * 2 + i % 2) * 32 + lane] = packed[i / 2][n][i % 2];
    }
    __syncwarp();
    uint32_t b[2][2][2];  // [branch][fragment][b0, b1]
    const uint32_t from = ptx::shared_address(staging) + lane * 16;
    uint32_t r[4];
    ptx::load_matrix_x4_transposed(r, from);
    if constexpr (S::group_fragments == 1) {
      b[0][0][0] = r[0], b[0][0][1] = r[1], b[1][0][0] = r[2], b[1][0][1] = r[3];
    } else {
      b[0][0][0] = r[0], b[0][0][1] = r[1], b[0][1][0] = r[2], b[0][1][1] = r[3];
      ptx::load_matrix_x4_transposed(r, from + 512);
      b[1][0][0] = r[0], b[1][0][1] = r[1], b[1][1][0] = r[2], b[1][1][1] = r[3];
    }
#pragma unroll
    for (int branch = 0; branch < 2; ++branch) {
#pragma unroll
      for (int m = 0; m < Channels / 16; ++m) {
        uint32_t a[4];
        ptx::load_matrix_x4_transposed(
            a, tile + branch * S::tile_bytes + S::offset(matrix / 2 * 8 + in_matrix, 2 * m + matrix % 2));
#pragma unroll
        for (int n = 0; n < S::group_fragments; ++n)
          ptx::mma_m16n8k16(weight[branch][m][n], a, b[branch][n][0], b[branch][n][1]);
      }
    }
  }

  static constexpr int count = 2 * S::group * (1 + Channels);  ///< of a block

  // Into [count] floats of this warp: [branch][f] of the biases, then [branch][f][channel].
  __device__ void store(float* out) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, row = lane / 4, q = lane % 4;
#pragma unroll
    for (int branch = 0; branch < 2; ++branch) {
#pragma unroll
      for (int column = 0; column < 2 * S::group_fragments; ++column) {
        const float sum = column_sum(bias[branch][column]);
        if (row == 0) out[branch * S::group + column / 2 * 8 + 2 * q + column % 2] = sum;
      }
#pragma unroll
      for (int m = 0; m < Channels / 16; ++m) {
#pragma unroll
        for (int n = 0; n < S::group_fragments; ++n) {
#pragma unroll
          for (int e = 0; e < 4; ++e)
            out[2 * S::group + (branch * S::group + n * 8 + 2 * q + e % 2) * Channels + m * 16 + row +
                e / 2 * 8] = weight[branch][m][n][e];
        }
      }
    }
  }
};

// What the norm of g needs of dg: over all tiles of a warp, in the order of add_lanes().
template <int Channels>
struct NormOfGSums {
  static constexpr int fragments = Channels == 16 ? 2 : 4, part_channels = Channels == 16 ? 16 : 32,
                       parts = Channels / part_channels;
  float totals[parts][fragments / 2] = {};

  // Of the rows of dg that the lane holds.
  template <bool Flat>
  __device__ __forceinline__ void add(const TensorGate& gate, const TilePlace<Flat>& place,
                                      const bool (&inside)[2], const float (&d)[Channels / 8][4]) {
    const int lane = static_cast<int>(threadIdx.x) % 32, row = lane / 4, channel = lane % 4 * (2 * fragments);
    const float* const floats = gate_norm_floats<Channels>(0);
    const NormTable<Channels> table(floats, gate.norms[0].relu);
#pragma unroll
    for (int part = 0; part < parts; ++part) {
      LaneMoments<2 * fragments> moments;
      float mine[fragments][4];
#pragma unroll
      for (int i = 0; i < fragments * 4; ++i) mine[i / 4][i % 4] = d[part * 4 + i / 4][i % 4];
      const NormParameters parameters = table.parameters(floats, part * part_channels + channel);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (!inside[half]) continue;
        // The tile holds g after its norm; before it, g is in the second-level cache.
        const bfloat16* const g = pointer(gate.inputs[0], place, row + 8 * half);
        add_norm_gradient(moments, mine, half, g + part * part_channels + channel, parameters);
      }
      add_lanes(totals[part], moments);
    }
  }

  // The block's piece; for all its threads.
  __device__ __forceinline__ void store(float* piece, unsigned char* shared) const {
#pragma unroll
    for (int part = 0; part < parts; ++part)
      store_moments<GateSizes<Channels>::warps, 1>(
          piece + part * part_channels * 2, reinterpret_cast<float*>(shared), totals[part], part_channels);
  }
};

// What a launch of the second pass computes.
constexpr int part_dg = 1, part_dx = 2, part_weights = 4;

// As GateSizes::resident_blocks: with the registers of one block more, the compiler spills one or two.
template <int Channels>
constexpr int apply_blocks = Channels == 16   ? 2
                             : Channels == 32 ? 2
                             : Channels == 64 ? 4
                                              : GateSizes<Channels>::resident_blocks;

// dg, dx, and the sums for the weights and biases of the convolutions (the last of one group,
// blocks ride grid.x as [group][piece]; partials: [group][WeightSums::count][piece]).
template <int Channels, bool Flat, int Parts>
__global__ void __launch_bounds__(GateSizes<Channels>::threads, apply_blocks<Channels>)
    apply_kernel(const __grid_constant__ TensorGate gate, View<bfloat16> dg, View<bfloat16> dx,
                 double* partials) {
  using S = GateSizes<Channels>;
  constexpr bool write_dg = (Parts & part_dg) != 0, write_dx = (Parts & part_dx) != 0,
                 sum_weights = (Parts & part_weights) != 0;
  static_assert(Parts == part_weights || !sum_weights || S::groups == 1);
  extern __shared__ __align__(16) unsigned char shared[];
  const int piece = static_cast<int>(blockIdx.x) % gate.grid.pieces;
  const int own_group = static_cast<int>(blockIdx.x) / gate.grid.pieces,
            lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32,
            row = lane / 4;
  auto* const staging =
      reinterpret_cast<uint32_t*>(shared + S::ring_bytes(3) + warp * staging_bytes<Channels>);
  const PsiConstants psi = *gate.psi;
  WeightSums<Channels> sums;
  NormOfGSums<Channels> norm_sums;
  for_each_tile<Channels, Flat, 3, true>(
      gate, piece, shared, [&](uint32_t tile, const TilePlace<Flat>& place) {
        const Rows<Channels> g(tile), x(tile + S::tile_bytes), dy(tile + 2 * S::tile_bytes);
        const bool inside[2] = {row < place.count, row + 8 < place.count};
        VoxelGradient v[2];
        voxel_gradients<Channels>(v, psi, tile + 3 * S::tile_bytes, x, dy);
        float ds[2], of_g[S::out_fragments][4] = {}, of_x[S::out_fragments][4];
#pragma unroll
        for (int half = 0; half < 2; ++half)
          ds[half] =
              psi.gamma * psi.factor * (v[half].dz - psi.mean_dz - v[half].normalised * psi.mean_product);
        if constexpr (write_dx) {
#pragma unroll
          for (int block = 0; block < S::blocks; ++block) {
            uint32_t a[S::block_steps][4];
            dy.get(block, a);
#pragma unroll
            for (int i = 0; i < S::block_steps * 4; ++i) {
              float(&out)[4] = of_x[block * S::block_steps * 2 + i / 2];
              out[i % 2 * 2] = low(a[i / 4][i % 4]) * v[i % 2].coefficient;
              out[i % 2 * 2 + 1] = high(a[i / 4][i % 4]) * v[i % 2].coefficient;
            }
          }
        }
#pragma unroll 1
        for (int i = 0; i < (Parts == part_weights ? 1 : S::groups); ++i) {
          const int group = Parts == part_weights ? own_group : i;
          Convolved<Channels> gradients(gate, group, g, x);
          convolution_gradients<Channels>(gradients, gate, group, ds, inside);
          uint32_t packed[2][2][2] = {};  // [branch][fragment][row]
#pragma unroll
          for (int n = 0; n < S::group_fragments; ++n) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              packed[0][n][half] =
                  ptx::pack_bfloat16(gradients.of_g[n][2 * half], gradients.of_g[n][2 * half + 1]);
              packed[1][n][half] =
                  ptx::pack_bfloat16(gradients.of_x[n][2 * half], gradients.of_x[n][2 * half + 1]);
            }
          }
          if constexpr (write_dg || write_dx) {
            const uint32_t a_g[4] = {packed[0][0][0], packed[0][0][1], packed[0][1][0], packed[0][1][1]},
                           a_x[4] = {packed[1][0][0], packed[1][0][1], packed[1][1][0], packed[1][1][1]};
#pragma unroll
            for (int j = 0; j < S::out_fragments; ++j) {
              uint32_t b[4];
              ptx::load_constant_16(b, gate.backward_fragments + (group * S::out_fragments + j) * 32 + lane);
              if constexpr (write_dg) ptx::mma_m16n8k16(of_g[j], a_g, b[0], b[1]);
              if constexpr (write_dx) ptx::mma_m16n8k16(of_x[j], a_x, b[2], b[3]);
            }
          }
          if constexpr (sum_weights) sums.add(packed, gradients, staging, tile);
        }
        if constexpr (write_dx) store_rows<Channels, Flat>(dx, place, inside, of_x);
        if constexpr (write_dg) {
          if (gate.dg_so_far.data != nullptr) add_rows<Channels, Flat>(of_g, gate.dg_so_far, place, inside);
          store_rows<Channels, Flat>(dg, place, inside, of_g);
          if (gate.norm_sums != nullptr) norm_sums.add(gate, place, inside, of_g);
        }
      });
  if constexpr (write_dg) {
    if (gate.norm_sums != nullptr) norm_sums.store(gate.norm_sums + int64_t{piece} * (Channels * 2), shared);
  }
  if constexpr (sum_weights) {
    __syncthreads();
    sums.store(reinterpret_cast<float*>(shared) + warp * WeightSums<Channels>::count);
    __syncthreads();
    add_warps(partials, reinterpret_cast<const float*>(shared), WeightSums<Channels>::count,
              int64_t{own_group} * WeightSums<Channels>::count, gate.grid.pieces, piece);
  }
}

struct AddWeightGradients {
  AttentionGateGradients gradients;
  int64_t channels, group;
  __device__ void operator()(int64_t i, double sum) const {
    const int64_t count = 2 * group * (1 + channels), first = i / count * group, j = i % count;
    float* to = nullptr;
    if (j < 2 * group) {
      to = (j < group ? gradients.bias_g : gradients.bias_x) + first + j % group;
    } else {
      const int64_t k = j - 2 * group, f = k / channels;
      to = (f < group ? gradients.weight_g : gradients.weight_x) + (first + f % group) * channels +
           k % channels;
    }
    *to += static_cast<float>(sum);
  }
};

template <int Channels, bool Flat>
void run_backward(View<bfloat16> dg, View<bfloat16> dx, const AttentionGateGradients& gradients,
                  View<const bfloat16> dy, View<const float> scores,
                  const AttentionGateStatistics& statistics, View<const bfloat16> g, View<const bfloat16> x,
                  const AttentionGateWeights& weights, const AttentionGateParams& params,
                  View<const bfloat16> dg_so_far, float* norm_sums, const Exec& exec) {
  using S = GateSizes<Channels>;
  using Sums = WeightSums<Channels>;
  constexpr int shared_bytes = S::ring_bytes(3), sums_a_group = S::group * hidden_sums + psi_sums;
  static_assert(shared_bytes + S::warps * staging_bytes<Channels> <= 48 * 1024);
  static_assert(S::warps * sums_a_group * 8 <= shared_bytes && S::warps * Sums::count * 4 <= shared_bytes);
  WorkspaceScope scope(*exec.workspace);
  const cudaStream_t stream = stream_of(exec);
  const GateMemory memory = allocate_gate_memory(Channels, scope);
  pack_gate_weights(memory, weights, Channels, exec);
  set_hidden_constants(memory, weights, statistics, params, exec);
  set_psi_constants(memory, weights, statistics, params, exec);

  TensorGate gate{{g, x, dy},
                  scores,
                  dg_so_far,
                  memory.forward_fragments,
                  memory.backward_fragments,
                  memory.hidden,
                  memory.psi,
                  with_pieces(make_tile_grid(x, Flat), S::warps, 8),
                  {norm_arguments(params.norm_of_g, g.c), norm_arguments(params.norm_of_x, x.c)},
                  nullptr};
  const auto pieces = static_cast<unsigned>(gate.grid.pieces);
  {
    WorkspaceScope sums_scope(*exec.workspace);
    constexpr int count = S::groups * sums_a_group;
    double* const partials = sums_scope.allocate<double>(size_t{count} * pieces);
    double* const totals = sums_scope.allocate<double>(count);
    gradient_sums_kernel<Channels, Flat>
        <<<S::groups * pieces, S::threads, shared_bytes, stream>>>(gate, partials);
    check_launch();
    finish_warp_sums_kernel<<<blocks_for(32 * count), block_threads, 0, stream>>>(StoreSum{totals}, partials,
                                                                                  count, pieces);
    check_launch();
    finish_sums_kernel<<<1, S::intermediate, 0, stream>>>(
        memory.hidden, memory.psi, gradients, totals, S::intermediate, S::group,
        static_cast<double>(x.voxels()), params.fixed_statistics);
    check_launch();
  }
  if (norm_sums != nullptr) gate.norm_sums = allocate_moments(scope, pieces, Channels);
  const float* const norm_pieces = gate.norm_sums;
  // In one launch where the registers hold everything: a few deep voxels are read two or three times.
  constexpr bool together = S::groups == 1;
  if constexpr (!together) {
    const auto launch = [&](auto kernel) {
      kernel<<<pieces, S::threads, shared_bytes, stream>>>(gate, dg, dx, nullptr);
      check_launch();
    };
    if constexpr (Channels == 64) {
      launch(apply_kernel<Channels, Flat, part_dg | part_dx>);
    } else {
      launch(apply_kernel<Channels, Flat, part_dg>);
      launch(apply_kernel<Channels, Flat, part_dx>);
    }
    // Fewer pieces: each leaves as many numbers as there are weights.
    gate.grid = with_pieces(gate.grid, S::warps, 16);
  }
  const auto weight_pieces = static_cast<unsigned>(gate.grid.pieces);
  constexpr int count = S::groups * Sums::count;
  double* const partials = scope.allocate<double>(size_t{count} * weight_pieces);
  apply_kernel<Channels, Flat, together ? part_dg | part_dx | part_weights : part_weights>
      <<<S::groups * weight_pieces, S::threads, shared_bytes + S::warps * staging_bytes<Channels>, stream>>>(
          gate, dg, dx, partials);
  check_launch();
  finish_warp_sums_kernel<<<blocks_for(32 * count), block_threads, 0, stream>>>(
      AddWeightGradients{gradients, Channels, S::group}, partials, count, weight_pieces);
  check_launch();
  if (norm_sums != nullptr)
    norm3d_join_pieces(norm_sums, {norm_pieces, 2, 1, pieces, Channels, x.voxels()}, exec);
}

}  // namespace

void attention_gate_backward_tensor(View<bfloat16> dg, View<bfloat16> dx,
                                    const AttentionGateGradients& gradients, View<const bfloat16> dy,
                                    View<const float> scores, const AttentionGateStatistics& statistics,
                                    View<const bfloat16> g, View<const bfloat16> x,
                                    const AttentionGateWeights& weights, const AttentionGateParams& params,
                                    View<const bfloat16> dg_so_far, float* norm_sums, const Exec& exec) {
  const bool flat = one_stride(g) && one_stride(x) && one_stride(scores) && one_stride(dy) &&
                    one_stride(dg) && one_stride(dx) && (dg_so_far.data == nullptr || one_stride(dg_so_far));
  dispatch_gate(x.c, flat, [&](auto known) {
    using Known = decltype(known);
    run_backward<Known::channels, Known::flat>(dg, dx, gradients, dy, scores, statistics, g, x, weights,
                                               params, dg_so_far, norm_sums, exec);
  });
}

}  // namespace vg::kernels::cuda
