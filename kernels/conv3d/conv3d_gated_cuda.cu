// Convolution of a gated input: the choice between kernels that make it as they read it and a pass that
// stores it in scratch memory.
#include "kernels/attention_gate/attention_gate_cuda.h"
#include "kernels/common/launch.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gated.cuh"
#include "kernels/conv3d/conv3d_impl.h"
#include "kernels/conv3d/conv3d_norm_gradient.cuh"
#include "kernels/elementwise/elementwise.h"

namespace vg::kernels::cuda {

namespace {

// Its places as one view: those of the rest are found from the skip connection's.
View<const bfloat16> places(const GatedInput& x) {
  View<const bfloat16> both = x.skip;
  both.c *= 2;
  return both;
}

// The input in scratch memory, and what is left to do to it: the norm of the rest.
struct Attended {
  View<const bfloat16> x;
  InputNorm norm;
};
Attended attended(const GatedInput& x, WorkspaceScope& scope, const Exec& exec) {
  const View<const bfloat16>& s = x.skip;
  const View<bfloat16> both = contiguous_view(scope.allocate<bfloat16>(static_cast<size_t>(2 * s.elements())),
                                              s.n, s.d, s.h, s.w, 2 * s.c);
  attention_gate_attend(both.channels(0, s.c), s, x.scores, x.statistics, x.weights, x.gate, exec);
  kernels::copy(both.channels(s.c, 2 * s.c), x.rest, exec);
  InputNorm norm = x.norm_of_rest;
  norm.first_channel = s.c;
  return {both, norm};
}

bool wgrad_applies(const View<const bfloat16>& dy, const GatedInput& x, const Conv3dParams& params) {
  return gate_applies(x, params) &&
         choose_conv3d_wgrad_algorithm(params, dy, places(x), cuda_limits()) == Conv3dAlgorithm::halo_tile;
}

}  // namespace

GateArguments gate_arguments(const GatedInput& x) {
  return {norm_arguments(x.norm_of_rest, x.rest.c),
          x.scores,
          x.statistics.mean_psi,
          x.statistics.variance_psi,
          x.weights.gamma_psi,
          x.weights.beta_psi,
          x.gate.eps,
          elements_between(x.skip.data, x.rest.data) - x.skip.c};
}

bool gate_applies(const GatedInput& x, const Conv3dParams& params) {
  const InputNorm &of_skip = x.gate.norm_of_x, &of_rest = x.norm_of_rest;
  // One activation for both, without parameters.
  const auto takes = [](const InputNorm& norm) {
    return norm.slope == nullptr && !norm.params.per_instance &&
           norm.params.activation.kind == ActivationKind::relu;
  };
  const View<const float>& s = x.scores;
  return conv3d_applies_gate(params, x.skip.w) && takes(of_skip) && takes(of_rest) &&
         norm_gradient_places(x.skip, x.rest) && s.stride_w == 1 && s.stride_h % 4 == 0 &&
         s.stride_d % 4 == 0 && s.stride_n % 4 == 0 && reinterpret_cast<uintptr_t>(s.data) % 16 == 0 &&
         s.n * s.stride_n < int64_t{1} << 31;  // counted in int
}

void conv3d_forward(View<bfloat16> y, const OutputStatistics& statistics, const GatedInput& x,
                    const float* weight, const float* bias, const Conv3dParams& params, const Exec& exec) {
  if (y.elements() == 0) return compute_statistics(&statistics, y, exec);
  const CudaLimits limits = cuda_limits();
  if (gate_applies(x, params) && halo_tile_applies(params, y, places(x), limits))
    return conv3d_forward_halo_tile(y, x, weight, bias, params, limits.multiprocessors, exec, statistics);
  WorkspaceScope scope(*exec.workspace);
  const auto [both, norm] = attended(x, scope, exec);
  cuda::conv3d_forward(y, &statistics, both, &norm, weight, bias, params, exec);
}

void conv3d_backward_weight(float* dweight, View<const bfloat16> dy, const GatedInput& x,
                            const Conv3dParams& params, const Exec& exec) {
  if (dy.elements() == 0) return;
  WorkspaceScope scope(*exec.workspace);
  const auto [both, norm] = attended(x, scope, exec);
  cuda::conv3d_backward_weight(dweight, dy, both, &norm, params, exec);
}

void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NormInputGradient& source,
                            const GatedInput& x, const Conv3dParams& params, const Exec& exec) {
  if (source.dy.elements() == 0) return;
  // As with an input that is stored; never in place, as more than one block reads a voxel.
  const bool place = dy.data == nullptr || (norm_gradient_places(source.dy, dy) && dy.data != source.dy.data);
  if (place && wgrad_applies(source.dy, x, params) && input_norm_applies(source.norm) &&
      norm_gradient_places(source.dy, source.x))
    return conv3d_backward_weight_halo_tile(dweight, source.dy, x, wgrad_multiprocessors, exec, source, dy);
  WorkspaceScope scope(*exec.workspace);
  const auto [both, norm] = attended(x, scope, exec);
  cuda::conv3d_backward_weight(dweight, dy, source, both, &norm, params, exec);
}

void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                            const GatedInput& x, const Conv3dParams& params, const Exec& exec) {
  if (source.x.elements() == 0) return;
  if (wgrad_applies(source.x, x, params) && input_norm_applies(source.norm) &&
      narrow_gradient_applies(source) && (dy.data == nullptr || norm_gradient_places(source.x, dy)))
    return conv3d_backward_weight_halo_tile(dweight, source, x, wgrad_multiprocessors, exec, dy);
  WorkspaceScope scope(*exec.workspace);
  const auto [both, norm] = attended(x, scope, exec);
  cuda::conv3d_backward_weight(dweight, dy, source, both, &norm, params, exec);
}

void conv3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                     const GatedInput& x, const float* weight, const Conv3dParams& params, const Exec& exec) {
  if (dx.elements() == 0) return;
  if (gate_applies(x, params) && halo_gradients_apply(params, dx, source.x, places(x), cuda_limits()) &&
      input_norm_applies(source.norm) && narrow_gradient_applies(source))
    return conv3d_backward_halo_tile(dx, dweight, source, x, weight, wgrad_multiprocessors, exec);
  WorkspaceScope scope(*exec.workspace);
  const auto [both, norm] = attended(x, scope, exec);
  cuda::conv3d_backward(dx, dweight, dy, source, both, &norm, weight, params, exec);
}

}  // namespace vg::kernels::cuda
