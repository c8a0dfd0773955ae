// Preparations of the tensor-core passes: which arguments they take, how the volume is cut, fragments of the
// weights and constants.
#include "kernels/attention_gate/attention_gate_tile.cuh"

namespace vg::kernels::cuda {

namespace {

// One thread for each fragment and lane.
template <int Channels>
__global__ void pack_weights_kernel(GateMemory memory, const float* weight_g, const float* weight_x) {
  using S = GateSizes<Channels>;
  const int i = static_cast<int>(thread_index()), lane = i % 32, fragment = i / 32, column = lane / 4,
            q = lane % 4;
  const auto pair_of = [](float low, float high) { return ptx::pack_bfloat16(low, high); };
  uint32_t words[4];  // b0 and b1 of g, then of x
  if (fragment < S::steps * S::fragments) {
    const int step = fragment / S::fragments, f = fragment % S::fragments * 8 + column;
    for (int half = 0; half < 4; ++half) {
      const float* const row = (half < 2 ? weight_g : weight_x) + f * Channels;
      words[half] = pair_of(row[channel_of<Channels>(2 * step + half % 2, q, 0)],
                            row[channel_of<Channels>(2 * step + half % 2, q, 1)]);
    }
    memory.forward_fragments[i] = {words[0], words[1], words[2], words[3]};
  }
  // The transposed weights: [group of up to 16 f][8 output channels]. Where a group has 8, the upper half of
  // the mma's depth is zero.
  if (fragment < S::groups * S::out_fragments) {
    const int group = fragment / S::out_fragments,
              c = channel_of<Channels>(fragment % S::out_fragments, column / 2, column % 2);
    for (int half = 0; half < 4; ++half) {
      const float* const weight = half < 2 ? weight_g : weight_x;
      const int f = group * S::group + half % 2 * 8 + 2 * q;
      const bool inside = half % 2 < S::group_fragments;
      words[half] =
          inside ? pair_of(weight[f * Channels + c], weight[(f + 1) * Channels + c]) : pair_of(0, 0);
    }
    memory.backward_fragments[i] = {words[0], words[1], words[2], words[3]};
  }
}

__global__ void hidden_constants_kernel(HiddenConstants* out, AttentionGateWeights w,
                                        AttentionGateStatistics s, int count, float eps) {
  const int f = static_cast<int>(thread_index());
  if (f >= count) return;
  HiddenConstants k{};
  k.factor[0] = 1 / sqrtf(s.variance_g[f] + eps);
  k.factor[1] = 1 / sqrtf(s.variance_x[f] + eps);
  k.offset[0] = (w.bias_g[f] - s.mean_g[f]) * k.factor[0];
  k.offset[1] = (w.bias_x[f] - s.mean_x[f]) * k.factor[1];
  k.gamma[0] = w.gamma_g[f], k.gamma[1] = w.gamma_x[f];
  k.beta = w.beta_g[f] + w.beta_x[f];
  k.weight_psi = w.weight_psi[f];
  out[f] = k;
}

__global__ void psi_constants_kernel(PsiConstants* out, AttentionGateWeights w, AttentionGateStatistics s,
                                     float eps) {
  // The bias is in the scores: who has these alone does not give it.
  const float bias = w.bias_psi != nullptr ? *w.bias_psi : 0.0f;
  *out = {*s.mean_psi, 1 / sqrtf(*s.variance_psi + eps), *w.gamma_psi, *w.beta_psi, bias, 0, 0};
}

}  // namespace

bool attention_gate_tensor_applies(const AttentionGateParams& params,
                                   std::initializer_list<View<const bfloat16>> views) {
  const int64_t c = params.skip_channels;
  if (params.gate_channels != c || 2 * params.intermediate_channels != c) return false;
  if (c != 16 && c != 32 && c != 64 && c != 128) return false;
  // A tile's voxels may be of two samples.
  for (const InputNorm& norm : {params.norm_of_g, params.norm_of_x}) {
    if (norm.mean != nullptr &&
        (norm.params.per_instance || norm.first_channel != 0 || !input_norm_applies(norm)))
      return false;
  }
  for (const View<const bfloat16>& v : views) {
    if (reinterpret_cast<uintptr_t>(v.data) % 16 != 0) return false;
    for (const int64_t stride : {v.stride_n, v.stride_d, v.stride_h, v.stride_w})
      if (stride % 8 != 0) return false;
    // Tiles are counted in 32 bits, and the bytes between voxels of float.
    if (v.voxels() >= int64_t{1} << 30 || v.stride_w >= int64_t{1} << 28) return false;
  }
  int device = 0, major = 0;
  check_cuda(cudaGetDevice(&device));
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  return major >= 8;
}

TileGrid make_tile_grid(const View<const bfloat16>& x, bool flat) {
  TileGrid grid{
      static_cast<int>(x.h), static_cast<int>(x.d), static_cast<int>(flat ? x.voxels() : x.w), 0, 0, 0};
  grid.tiles_a_row = (grid.width + tile_voxels - 1) / tile_voxels;
  grid.tiles = grid.tiles_a_row * (flat ? 1 : static_cast<int>(x.rows()));
  return grid;
}

GateMemory allocate_gate_memory(int64_t channels, WorkspaceScope& scope) {
  const auto c = static_cast<size_t>(channels);
  const size_t fragments = c / 16 * (c / 16), out_fragments = c == 16 ? 2 : c / 32 * (c / 8);
  return {scope.allocate<uint4>(fragments * 32), scope.allocate<uint4>(out_fragments * 32),
          scope.allocate<HiddenConstants>(c / 2), scope.allocate<PsiConstants>(1)};
}

void pack_gate_weights(const GateMemory& memory, const AttentionGateWeights& weights, int64_t channels,
                       const Exec& exec) {
  dispatch_gate(channels, true, [&](auto known) {
    using S = GateSizes<decltype(known)::channels>;
    constexpr int fragments = std::max(S::steps * S::fragments, S::groups * S::out_fragments);
    pack_weights_kernel<S::channels><<<blocks_for(fragments * 32), block_threads, 0, stream_of(exec)>>>(
        memory, weights.weight_g, weights.weight_x);
  });
  check_launch();
}

void set_hidden_constants(const GateMemory& memory, const AttentionGateWeights& weights,
                          const AttentionGateStatistics& statistics, const AttentionGateParams& params,
                          const Exec& exec) {
  const auto count = static_cast<int>(params.intermediate_channels);
  hidden_constants_kernel<<<1, block_threads, 0, stream_of(exec)>>>(memory.hidden, weights, statistics, count,
                                                                    params.eps);
  check_launch();
}

void set_psi_constants(const GateMemory& memory, const AttentionGateWeights& weights,
                       const AttentionGateStatistics& statistics, const AttentionGateParams& params,
                       const Exec& exec) {
  psi_constants_kernel<<<1, 1, 0, stream_of(exec)>>>(memory.psi, weights, statistics, params.eps);
  check_launch();
}

}  // namespace vg::kernels::cuda
