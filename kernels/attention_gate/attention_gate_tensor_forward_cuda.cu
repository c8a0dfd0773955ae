// The forward pass on tensor cores. Each pass recomputes the convolutions of its tiles:
//   moments: reads g, x       scores: reads g, x, writes the scores       attend: reads x and scores, writes
//   y
// With fixed statistics the second writes y as well, and is the only one.
#include "kernels/attention_gate/attention_gate_tile.cuh"

namespace vg::kernels::cuda {

namespace {

// Sums of values and of their squares for every lane's column, about the first value.
struct ColumnMoments {
  float origin = 0, sum = 0, square = 0;
  __device__ __forceinline__ void add(float value, bool counts) {
    const float v = counts ? value - origin : 0.0f;
    sum += v;
    square = fmaf(v, v, square);
  }
  // Of the `count` values added, about zero.
  __device__ double total(float count) const { return sum + double{count} * origin; }
  __device__ double total_square(float count) const {
    return square + double{origin} * (2.0 * sum + double{count} * origin);
  }
};

// Blocks ride grid.x as [group][piece]. partials: [branch][f][sum, square][piece].
template <int Channels, bool Flat>
__global__ void __launch_bounds__(GateSizes<Channels>::threads, GateSizes<Channels>::forward_blocks)
    moments_kernel(const __grid_constant__ TensorGate gate, double* partials) {
  using S = GateSizes<Channels>;
  extern __shared__ __align__(16) unsigned char shared[];
  const int piece = static_cast<int>(blockIdx.x) % gate.grid.pieces;
  const int group = static_cast<int>(blockIdx.x) / gate.grid.pieces,
            lane = static_cast<int>(threadIdx.x) % 32, row = lane / 4;
  ColumnMoments moments[2][2 * S::group_fragments];
  float count = 0;
  bool first = true;
  for_each_tile<Channels, Flat, 2, false>(
      gate, piece, shared, [&](uint32_t tile, const TilePlace<Flat>& place) {
        const Rows<Channels> g(tile), x(tile + S::tile_bytes);
        const Convolved<Channels> convolved(gate, group, g, x);
        const bool inside[2] = {row < place.count, row + 8 < place.count};
#pragma unroll
        for (int n = 0; n < S::group_fragments; ++n) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            ColumnMoments& of_g = moments[0][2 * n + e % 2];
            ColumnMoments& of_x = moments[1][2 * n + e % 2];
            if (first && e < 2) of_g.origin = convolved.of_g[n][e], of_x.origin = convolved.of_x[n][e];
            of_g.add(convolved.of_g[n][e], inside[e / 2]);
            of_x.add(convolved.of_x[n][e], inside[e / 2]);
          }
        }
        count += static_cast<float>(inside[0]) + static_cast<float>(inside[1]);
        first = false;
      });
  __syncthreads();
  auto* const sums = reinterpret_cast<double*>(shared);
  constexpr int sums_a_warp = 2 * S::group * 2;
#pragma unroll
  for (int i = 0; i < 2 * 2 * S::group_fragments; ++i) {
    const int branch = i / (2 * S::group_fragments), column = i % (2 * S::group_fragments);
    const double sum = column_sum(moments[branch][column].total(count)),
                 square = column_sum(moments[branch][column].total_square(count));
    if (lane >= 4) continue;
    const int f = column / 2 * 8 + 2 * lane + column % 2;
    double* const mine =
        sums + static_cast<int>(threadIdx.x) / 32 * sums_a_warp + (branch * S::group + f) * 2;
    mine[0] = sum, mine[1] = square;
  }
  __syncthreads();
  for (int branch = 0; branch < 2; ++branch) {
    for (int i = static_cast<int>(threadIdx.x); i < 2 * S::group; i += S::threads) {
      double sum = 0;
      for (int warp = 0; warp < S::warps; ++warp) sum += sums[warp * sums_a_warp + branch * 2 * S::group + i];
      partials[((branch * S::intermediate + group * S::group) * 2 + i) * int64_t{gate.grid.pieces} + piece] =
          sum;
    }
  }
}

struct FinishBranches {
  AttentionGateStatistics statistics;
  const float *bias_g, *bias_x;
  int64_t intermediate;
  double voxels;
  __device__ void operator()(int64_t i, const double (&sums)[2]) const {
    const bool of_g = i < intermediate;
    const int64_t f = of_g ? i : i - intermediate;
    float& mean = (of_g ? statistics.mean_g : statistics.mean_x)[f];
    finish_moments(mean, (of_g ? statistics.variance_g : statistics.variance_x)[f], sums[0], sums[1], voxels);
    mean += (of_g ? bias_g : bias_x)[f];
  }
};

struct FinishPsi {
  AttentionGateStatistics statistics;
  double voxels;
  __device__ void operator()(int64_t, const double (&sums)[2]) const {
    finish_moments(*statistics.mean_psi, *statistics.variance_psi, sums[0], sums[1], voxels);
  }
};

__device__ __forceinline__ float coefficient_of(const PsiConstants& psi, float score) {
  return gate_coefficient(score, psi.mean, psi.factor, psi.gamma, psi.beta);
}

// The scores; with `Attend`, for which all statistics are given, y too, else partials: [sum, square][piece].
template <int Channels, bool Flat, bool Attend>
__global__ void __launch_bounds__(GateSizes<Channels>::threads, GateSizes<Channels>::forward_blocks)
    scores_kernel(const __grid_constant__ TensorGate gate, View<bfloat16> y, View<float> scores,
                  double* partials) {
  using S = GateSizes<Channels>;
  extern __shared__ __align__(16) unsigned char shared[];
  const int lane = static_cast<int>(threadIdx.x) % 32, row = lane / 4, q = lane % 4;
  const PsiConstants psi = *gate.psi;
  ColumnMoments moments;
  float count = 0;
  for_each_tile<Channels, Flat, 2, false>(
      gate, static_cast<int>(blockIdx.x), shared, [&](uint32_t tile, const TilePlace<Flat>& place) {
        const Rows<Channels> g(tile), x(tile + S::tile_bytes);
        float score[2] = {};
#pragma unroll 1
        for (int group = 0; group < S::groups; ++group) {
          const Convolved<Channels> convolved(gate, group, g, x);
#pragma unroll
          for (int i = 0; i < 2 * S::group_fragments; ++i) {
            const int n = i / 2, column = i % 2;
            const auto k = HiddenConstants::load(gate.hidden + group * S::group + n * 8 + 2 * q + column);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const int e = 2 * half + column;
              const HiddenValue h(k, convolved.of_g[n][e], convolved.of_x[n][e]);
              score[half] = fmaf(h.before_relu <= 0 ? 0.0f : h.before_relu, k.weight_psi, score[half]);
            }
          }
        }
        score[0] = quad_sum(score[0]) + psi.bias;
        score[1] = quad_sum(score[1]) + psi.bias;
        const bool inside[2] = {row < place.count, row + 8 < place.count};
        // Two of the four lanes write, one a voxel: 8 voxels side by side are whole sectors.
        if (q < 2 && (q == 0 ? inside[0] : inside[1]))
          *pointer(scores, place, row + 8 * q) = q == 0 ? score[0] : score[1];
        if constexpr (Attend) {
          const float c[2] = {coefficient_of(psi, score[0]), coefficient_of(psi, score[1])};
#pragma unroll
          for (int block = 0; block < S::blocks; ++block) {
            uint32_t a[S::block_steps][4];
            x.get(block, a);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              bfloat16* const out = pointer(y, place, row + 8 * half);
              if (!inside[half]) continue;
              if constexpr (Channels == 16) {
                ptx::store_global_8(out + 4 * q, scaled(a[0][half], c[half]),
                                    scaled(a[0][2 + half], c[half]));
              } else {
                ptx::store_global_16(out + 32 * block + 8 * q, scaled(a[0][half], c[half]),
                                     scaled(a[0][2 + half], c[half]), scaled(a[1][half], c[half]),
                                     scaled(a[1][2 + half], c[half]));
              }
            }
          }
        } else {
          if (count == 0) moments.origin = score[0];
          moments.add(score[0], inside[0]);
          moments.add(score[1], inside[1]);
          count += static_cast<float>(inside[0]) + static_cast<float>(inside[1]);
        }
      });
  if constexpr (!Attend) {
    __syncthreads();
    auto* const sums = reinterpret_cast<double*>(shared);
    const double sum = column_sum(moments.total(count)), square = column_sum(moments.total_square(count));
    if (lane == 0) {
      sums[threadIdx.x / 32 * 2] = sum;
      sums[threadIdx.x / 32 * 2 + 1] = square;
    }
    __syncthreads();
    add_warps(partials, sums, 2, 0, gate.grid.pieces, blockIdx.x);
  }
}

// y = x * coefficient, 8 channels a thread; of x after its norm, if there is one.
template <int Channels>
__global__ void attend_kernel(VoxelPointer<bfloat16> y, VoxelPointer<const bfloat16> x,
                              VoxelPointer<const float> scores, const PsiConstants* psi,
                              NormArguments norm_of_x) {
  constexpr int chunks = Channels / 8;
  using Table = NormTable<Channels>;
  __shared__ __align__(16) float floats[Table::floats];
  if (norm_of_x.mean != nullptr) {
    [[maybe_unused]] const Table fill(floats, norm_of_x, 0, 0);
    __syncthreads();
  }
  const int64_t i = thread_index() / chunks;
  const int chunk = static_cast<int>(threadIdx.x) % chunks;
  if (i >= x.view.voxels()) return;
  uint32_t words[4];
  ptx::load_constant_16(words, x(i) + chunk * 8);
  if (norm_of_x.mean != nullptr) Table(floats, norm_of_x.relu).chunk(chunk).apply_to(words);
  const float c = coefficient_of(*psi, *scores(i));
  ptx::store_global_16(y(i) + chunk * 8, scaled(words[0], c), scaled(words[1], c), scaled(words[2], c),
                       scaled(words[3], c));
}

template <int Channels>
void attend(const View<bfloat16>& y, const View<const bfloat16>& x, const View<const float>& scores,
            const PsiConstants* psi, const NormArguments& norm_of_x, const Exec& exec) {
  attend_kernel<Channels><<<blocks_for(x.voxels() * (Channels / 8)), block_threads, 0, stream_of(exec)>>>(
      VoxelPointer(y), VoxelPointer(x), VoxelPointer(scores), psi, norm_of_x);
  check_launch();
}

template <int Channels, bool Flat>
void run_forward(View<bfloat16> y, View<float> scores, const AttentionGateStatistics& statistics,
                 View<const bfloat16> g, View<const bfloat16> x, const AttentionGateWeights& weights,
                 const AttentionGateParams& params, const Exec& exec) {
  using S = GateSizes<Channels>;
  WorkspaceScope scope(*exec.workspace);
  const GateMemory memory = allocate_gate_memory(Channels, scope);
  const TileGrid grid = with_pieces(make_tile_grid(x, Flat), S::warps, 8);
  const TensorGate gate{{g, x, {}},
                        scores,
                        {},
                        memory.forward_fragments,
                        memory.backward_fragments,
                        memory.hidden,
                        memory.psi,
                        grid,
                        {norm_arguments(params.norm_of_g, g.c), norm_arguments(params.norm_of_x, x.c)},
                        nullptr};
  const auto pieces = static_cast<unsigned>(grid.pieces);
  const auto voxels = static_cast<double>(x.voxels());
  const cudaStream_t stream = stream_of(exec);
  double* const partials = scope.allocate<double>(size_t{4} * S::intermediate * pieces);
  pack_gate_weights(memory, weights, Channels, exec);
  if (params.fixed_statistics) {
    set_hidden_constants(memory, weights, statistics, params, exec);
    set_psi_constants(memory, weights, statistics, params, exec);
    scores_kernel<Channels, Flat, true>
        <<<pieces, S::threads, S::ring_bytes(2), stream>>>(gate, y, scores, nullptr);
    return check_launch();
  }
  moments_kernel<Channels, Flat>
      <<<S::groups * pieces, S::threads, S::ring_bytes(2), stream>>>(gate, partials);
  check_launch();
  finish_channel_sums_kernel<2><<<2 * S::intermediate, block_threads, 0, stream>>>(
      FinishBranches{statistics, weights.bias_g, weights.bias_x, S::intermediate, voxels}, partials, pieces);
  check_launch();
  set_hidden_constants(memory, weights, statistics, params, exec);
  set_psi_constants(memory, weights, statistics, params, exec);  // of these only the bias is used yet
  scores_kernel<Channels, Flat, false>
      <<<pieces, S::threads, S::ring_bytes(2), stream>>>(gate, y, scores, partials);
  check_launch();
  finish_channel_sums_kernel<2>
      <<<1, block_threads, 0, stream>>>(FinishPsi{statistics, voxels}, partials, pieces);
  check_launch();
  if (y.data == nullptr) return;
  set_psi_constants(memory, weights, statistics, params, exec);
  attend<Channels>(y, x, scores, memory.psi, gate.norms[1], exec);
}

}  // namespace

void attention_gate_forward_tensor(View<bfloat16> y, View<float> scores,
                                   const AttentionGateStatistics& statistics, View<const bfloat16> g,
                                   View<const bfloat16> x, const AttentionGateWeights& weights,
                                   const AttentionGateParams& params, const Exec& exec) {
  const bool flat =
      one_stride(g) && one_stride(x) && one_stride(scores) && (y.data == nullptr || one_stride(y));
  dispatch_gate(x.c, flat, [&](auto known) {
    using Known = decltype(known);
    run_forward<Known::channels, Known::flat>(y, scores, statistics, g, x, weights, params, exec);
  });
}

void attention_gate_attend_tensor(View<bfloat16> y, View<const bfloat16> x, View<const float> scores,
                                  const AttentionGateStatistics& statistics,
                                  const AttentionGateWeights& weights, const AttentionGateParams& params,
                                  const Exec& exec) {
  dispatch_gate(x.c, true, [&](auto known) {
    constexpr int channels = decltype(known)::channels;
    WorkspaceScope scope(*exec.workspace);
    const GateMemory memory = allocate_gate_memory(channels, scope);
    set_psi_constants(memory, weights, statistics, params, exec);
    attend<channels>(y, x, scores, memory.psi, norm_arguments(params.norm_of_x, x.c), exec);
  });
}

}  // namespace vg::kernels::cuda
