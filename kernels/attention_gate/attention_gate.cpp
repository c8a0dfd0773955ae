#include "kernels/attention_gate/attention_gate.h"

#include "kernels/attention_gate/attention_gate_impl.h"
#include "kernels/common/check_shape.h"

namespace vg::kernels {

namespace {

void require_intermediate(const char* function, const AttentionGateParams& p) {
  require(p.intermediate_channels > 0, function, ": intermediate_channels is ", p.intermediate_channels,
          ", expected at least 1");
}

template <class T>
void require_valid(const char* function, const View<const float>& psi, const View<const T>& g,
                   const View<const T>& x, const AttentionGateWeights& w, const AttentionGateParams& p) {
  require(g.same_voxels(x) && psi.same_voxels(x), function,
          ": g, x and psi must have the same voxels; found [", g.n, ',', g.d, ',', g.h, ',', g.w, "], [", x.n,
          ',', x.d, ',', x.h, ',', x.w, "] and [", psi.n, ',', psi.d, ',', psi.h, ',', psi.w, ']');
  require(x.voxels() > 0, function, ": x is empty, expected at least one voxel");
  require(g.c == p.gate_channels && x.c == p.skip_channels && psi.c == 1, function, ": g, x and psi have ",
          g.c, ", ", x.c, " and ", psi.c, " channels, expected ", p.gate_channels, ", ", p.skip_channels,
          " and 1");
  require_intermediate(function, p);
  require((std::is_same_v<T, bfloat16>) || (p.norm_of_g.mean == nullptr && p.norm_of_x.mean == nullptr),
          function, ": a norm of g or x is for bfloat16 alone");
  for (const float* weight : {w.weight_g, w.bias_g, w.gamma_g, w.beta_g, w.weight_x, w.bias_x, w.gamma_x,
                              w.beta_x, w.weight_psi, w.bias_psi, w.gamma_psi, w.beta_psi}) {
    require(weight != nullptr, function, ": a weight is null");
  }
}

template <class T>
void check_forward(const View<T>& y, const View<float>& psi, const View<const T>& g, const View<const T>& x,
                   const AttentionGateWeights& weights, const AttentionGateParams& params) {
  require_valid<T>("attention_gate_forward", psi, g, x, weights, params);
  if (std::is_same_v<T, float> || y.data != nullptr || params.fixed_statistics)
    require_same_shape("attention_gate_forward", y, x);
}

template <class T>
void check_backward(const View<T>& dg, const View<T>& dx, const AttentionGateGradients& d,
                    const View<const T>& dy, const View<const float>& psi, const View<const T>& g,
                    const View<const T>& x, const AttentionGateWeights& weights,
                    const AttentionGateParams& params) {
  require_valid<T>("attention_gate_backward", psi, g, x, weights, params);
  require_same_shape("attention_gate_backward", dg, g);
  require_same_shape("attention_gate_backward", dx, x);
  require_same_shape("attention_gate_backward", dy, x);
  for (const float* gradient : {d.weight_g, d.bias_g, d.gamma_g, d.beta_g, d.weight_x, d.bias_x, d.gamma_x,
                                d.beta_x, d.weight_psi, d.bias_psi, d.gamma_psi, d.beta_psi}) {
    require(gradient != nullptr, "attention_gate_backward: a gradient is null");
  }
}

}  // namespace

void attention_gate_forward(View<float> y, View<float> psi, const AttentionGateStatistics& statistics,
                            View<const float> g, View<const float> x, const AttentionGateWeights& weights,
                            const AttentionGateParams& params, const Exec& exec) {
  check_forward(y, psi, g, x, weights, params);
  VG_DISPATCH(exec, attention_gate_forward, y, psi, statistics, g, x, weights, params, exec);
}
void attention_gate_forward(View<bfloat16> y, View<float> psi, const AttentionGateStatistics& statistics,
                            View<const bfloat16> g, View<const bfloat16> x,
                            const AttentionGateWeights& weights, const AttentionGateParams& params,
                            const Exec& exec) {
  check_forward(y, psi, g, x, weights, params);
  VG_DISPATCH_CUDA(exec, attention_gate_forward, y, psi, statistics, g, x, weights, params, exec);
}

void attention_gate_backward(View<float> dg, View<float> dx, const AttentionGateGradients& gradients,
                             View<const float> dy, View<const float> psi,
                             const AttentionGateStatistics& statistics, View<const float> g,
                             View<const float> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, const Exec& exec) {
  attention_gate_backward(dg, dx, gradients, dy, psi, statistics, g, x, weights, params, {}, exec);
}
void attention_gate_backward(View<float> dg, View<float> dx, const AttentionGateGradients& gradients,
                             View<const float> dy, View<const float> psi,
                             const AttentionGateStatistics& statistics, View<const float> g,
                             View<const float> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, View<const float> dg_so_far,
                             const Exec& exec) {
  check_backward(dg, dx, gradients, dy, psi, g, x, weights, params);
  if (dg_so_far.data != nullptr) require_same_shape("attention_gate_backward", dg_so_far, g);
  VG_DISPATCH(exec, attention_gate_backward, dg, dx, gradients, dy, psi, statistics, g, x, weights, params,
              dg_so_far, exec);
}
void attention_gate_backward(View<bfloat16> dg, View<bfloat16> dx, const AttentionGateGradients& gradients,
                             View<const bfloat16> dy, View<const float> scores,
                             const AttentionGateStatistics& statistics, View<const bfloat16> g,
                             View<const bfloat16> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, const Exec& exec) {
  attention_gate_backward(dg, dx, gradients, dy, scores, statistics, g, x, weights, params, {}, nullptr,
                          exec);
}
void attention_gate_backward(View<bfloat16> dg, View<bfloat16> dx, const AttentionGateGradients& gradients,
                             View<const bfloat16> dy, View<const float> psi,
                             const AttentionGateStatistics& statistics, View<const bfloat16> g,
                             View<const bfloat16> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, View<const bfloat16> dg_so_far,
                             float* norm_sums, const Exec& exec) {
  check_backward(dg, dx, gradients, dy, psi, g, x, weights, params);
  if (dg_so_far.data != nullptr) require_same_shape("attention_gate_backward", dg_so_far, g);
  require(norm_sums == nullptr || (params.norm_of_g.mean != nullptr &&
                                   params.norm_of_g.params.activation.kind != ActivationKind::prelu),
          "attention_gate_backward: sums for a norm of g that is not there, or has a slope");
  VG_DISPATCH_CUDA(exec, attention_gate_backward, dg, dx, gradients, dy, psi, statistics, g, x, weights,
                   params, dg_so_far, norm_sums, exec);
}

void attention_gate_inference(View<float> y, View<const float> g, View<const float> x,
                              const FoldedGateWeights& weights, const AttentionGateParams& params,
                              const Exec& exec) {
  const char* const function = "attention_gate_inference";
  require(exec.device == DeviceKind::cpu, function, ": on the CPU only");
  require(exec.workspace != nullptr, function, ": the workspace pointer is null");
  require_same_shape(function, y, x);
  require(g.same_voxels(x), function, ": g and x must have the same voxels");
  require(g.c == params.gate_channels && x.c == params.skip_channels, function, ": g and x have ", g.c,
          " and ", x.c, " channels, expected ", params.gate_channels, " and ", params.skip_channels);
  require_intermediate(function, params);
  for (const float* weight :
       {weights.weight_g, weights.weight_x, weights.bias, weights.weight_psi, weights.bias_psi}) {
    require(weight != nullptr, function, ": a weight is null");
  }
  if (exec.planning) return;
  VG_CALL_CPU(attention_gate_inference, y, g, x, weights, params, exec);
}

}  // namespace vg::kernels
