// One pass: for a group of voxels of a row the sums of a vector of intermediate channels stay in registers,
// so that g and x are read and y is written once and nothing else is.
#include "kernels/attention_gate/attention_gate_impl.h"
#include "kernels/common/channel_blocks.h"
#include "kernels/common/map.h"
#include "kernels/common/simd_math.h"
#include "kernels/common/stream.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// Weights as [input channels][F padded to whole vectors]; the padding contributes zeros.
struct PackedGate {
  float *columns_g, *columns_x, *bias, *weight_psi;
  float bias_psi;
  int64_t padded;
};

PackedGate pack(const FoldedGateWeights& w, const AttentionGateParams& p, WorkspaceScope& scope) {
  const int64_t count = p.intermediate_channels, padded = (count + lanes - 1) / lanes * lanes;
  const auto columns = [&](const float* rows, int64_t inner) {
    float* const result = scope.allocate<float>(static_cast<size_t>(inner * padded));
    std::memset(result, 0, static_cast<size_t>(inner * padded) * sizeof(float));
    for (int64_t f = 0; f < count; ++f) {
      for (int64_t c = 0; c < inner; ++c) result[c * padded + f] = rows[f * inner + c];
    }
    return result;
  };
  // A vector is a matrix of one input channel.
  const auto vector = [&](const float* values) { return columns(values, 1); };
  return {columns(w.weight_g, p.gate_channels),
          columns(w.weight_x, p.skip_channels),
          vector(w.bias),
          vector(w.weight_psi),
          w.bias_psi[0],
          padded};
}

struct Group {
  const float *g, *x;
  float* y;
  int64_t g_stride, x_stride, y_stride;  ///< between voxels
  int64_t gate_channels, skip_channels;
  bool streamed;  ///< y goes past the caches
};

// sums[v] += the product of `channels` inputs of each voxel with their columns.
template <int Voxels>
VG_INLINE void multiply(Vec (&sums)[Voxels], const float* in, int64_t stride, int64_t channels,
                        const float* columns, int64_t column_stride) {
#pragma GCC unroll 1
  for (int64_t c = 0; c < channels; ++c, ++in, columns += column_stride) {
    const Vec column = load(columns);
    const float* p = in;
#pragma GCC unroll 16
    for (int v = 0; v < Voxels; ++v, p += stride) sums[v] += column * broadcast(*p);
  }
}

template <int Voxels>
__attribute__((noinline)) void run_group(const Group& group, const PackedGate& gate) {
  Vec scores[lanes] = {};  // of each voxel, lane by lane
  for (int64_t f = 0; f < gate.padded; f += lanes) {
    Vec sums[Voxels];
    const Vec bias = load(gate.bias + f), weight_psi = load(gate.weight_psi + f);
#pragma GCC unroll 16
    for (int v = 0; v < Voxels; ++v) sums[v] = bias;
    multiply(sums, group.g, group.g_stride, group.gate_channels, gate.columns_g + f, gate.padded);
    multiply(sums, group.x, group.x_stride, group.skip_channels, gate.columns_x + f, gate.padded);
#pragma GCC unroll 16
    for (int v = 0; v < Voxels; ++v) scores[v] += (sums[v] <= 0.0f ? Vec{} : sums[v]) * weight_psi;
  }
  // Lanes are added by turning them into vectors of voxels.
  transpose(scores);
#pragma GCC unroll 16
  for (int half = lanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < half; ++i) scores[i] += scores[i + half];
  }
  float psi[lanes];
  store(psi, sigmoid(scores[0] + gate.bias_psi));
  for (int v = 0; v < Voxels; ++v) {
    const float* const in = group.x + v * group.x_stride;
    float* const out = group.y + v * group.y_stride;
    if (group.streamed) {
      for (int64_t c = 0; c < group.skip_channels; c += lanes) stream(out + c, load(in + c) * psi[v]);
    } else {
      for_each_block(group.skip_channels,
                     [&](auto block, int64_t c) { block.store(out + c, block.load(in + c) * psi[v]); });
    }
  }
}

using RunGroup = void (*)(const Group&, const PackedGate&);

// run_group for `voxels` voxels, at least one and at most a vector's lanes.
template <int Most = lanes>
RunGroup group_of(int64_t voxels) {
  if constexpr (Most > 1) {
    if (voxels < Most) return group_of<Most - 1>(voxels);
  }
  return run_group<Most>;
}

}  // namespace

void attention_gate_inference(View<float> y, View<const float> g, View<const float> x,
                              const FoldedGateWeights& weights, const AttentionGateParams& params,
                              const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const PackedGate gate = pack(weights, params, scope);
  // Groups of a row are as equal as can be: a short one would wait for its multiply-adds.
  const int64_t groups = (x.w + lanes - 1) / lanes;
  const bool streamed = streams(y);
  parallel_for(x.rows(), 8, [&](int64_t row) {
    for (int64_t i = 0; i < groups; ++i) {
      const int64_t first = piece_begin(x.w, groups, i), voxels = piece_begin(x.w, groups, i + 1) - first;
      group_of(voxels)({pointer(g, row, first), pointer(x, row, first), pointer(y, row, first), g.stride_w,
                        x.stride_w, y.stride_w, g.c, x.c, streamed},
                       gate);
    }
    if (streamed) finish_streaming();
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
