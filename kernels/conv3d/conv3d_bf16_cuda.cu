// Convolution of bfloat16: the choice of an algorithm for the current device.
#include "kernels/common/lanes.cuh"
#include "kernels/common/launch.cuh"
#include "kernels/conv3d/conv3d_algorithm.h"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_halo_tile.h"
#include "kernels/conv3d/conv3d_impl.h"
#include "kernels/conv3d/conv3d_norm_gradient.cuh"
#include "kernels/elementwise/elementwise.h"
#include "kernels/norm3d/norm3d_impl.h"

namespace vg::kernels::cuda {

CudaLimits cuda_limits() {
  int device = 0, major = 0, minor = 0, shared_bytes = 0, multiprocessors = 0;
  check_cuda(cudaGetDevice(&device));
  const auto get = [device](int& value, cudaDeviceAttr attribute) {
    check_cuda(cudaDeviceGetAttribute(&value, attribute, device));
  };
  get(major, cudaDevAttrComputeCapabilityMajor);
  get(minor, cudaDevAttrComputeCapabilityMinor);
  get(shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  get(multiprocessors, cudaDevAttrMultiProcessorCount);
  return {major * 10 + minor, shared_bytes, multiprocessors};
}

void compute_statistics(const OutputStatistics* statistics, View<const bfloat16> y, const Exec& exec) {
  if (statistics == nullptr) return;
  const Norm3dParams params{.per_instance = statistics->per_instance};
  norm3d_statistics(statistics->mean, statistics->variance, y, params, exec);
}

namespace {

// Whether an algorithm of the forward pass or of the weights' gradient applies a norm to x as it reads it.
bool forward_applies_norm(Conv3dAlgorithm algorithm, const View<const bfloat16>& y,
                          const OutputStatistics* statistics, const View<const bfloat16>& x,
                          const InputNorm& norm) {
  if (algorithm == Conv3dAlgorithm::pointwise) return pointwise_norm_applies(y, x, norm);
  if (algorithm == Conv3dAlgorithm::strided) return statistics != nullptr && strided_norm_applies(norm, x.c);
  return algorithm == Conv3dAlgorithm::halo_tile && statistics != nullptr && input_norm_applies(norm);
}
bool wgrad_applies_norm(Conv3dAlgorithm algorithm, const View<const bfloat16>& dy, const InputNorm& norm) {
  if (algorithm == Conv3dAlgorithm::strided) return strided_wgrad_norm_applies(norm, dy.c);
  return algorithm == Conv3dAlgorithm::halo_tile && input_norm_applies(norm);
}

// Whether an epilogue takes the sums for the gradient of a norm of x: two, and it reads x by 16 bytes.
bool epilogue_sums(const InputNorm& norm, const View<const bfloat16>& x) {
  return norm_gradient_applies(norm) && takes_lanes<8>(x);
}

// x after its norm, in scratch memory: for algorithms that do not apply it as they read.
View<const bfloat16> normalised(const InputNorm& norm, const View<const bfloat16>& x, WorkspaceScope& scope,
                                const Exec& exec) {
  const View<bfloat16> y =
      contiguous_view(scope.allocate<bfloat16>(static_cast<size_t>(x.elements())), x.n, x.d, x.h, x.w, x.c);
  const int64_t first = norm.first_channel;
  if (first > 0) kernels::copy(y.channels(0, first), x.channels(0, first), exec);
  norm3d_apply(y.channels(first, x.c), x.channels(first, x.c), norm.mean, norm.variance, norm.gamma,
               norm.beta, norm.slope, norm.params, exec);
  return y;
}

// Whether both gradients of a convolution behind a norm are made in two passes over its input.
bool takes_norm_pointwise(const Conv3dParams& params, const View<const bfloat16>& dy,
                          const View<const bfloat16>& x, const InputNorm& norm) {
  return dy.elements() > 0 &&
         choose_conv3d_algorithm(params, dy, x, cuda_limits()) == Conv3dAlgorithm::pointwise &&
         pointwise_norm_applies(dy, x, norm);
}

}  // namespace

void conv3d_forward(View<bfloat16> y, const OutputStatistics* statistics, View<const bfloat16> x,
                    const InputNorm* norm, const float* weight, const float* bias, const Conv3dParams& params,
                    const Exec& exec) {
  // Without voxels nothing is launched; the pass of its own says what their statistics are.
  if (y.elements() == 0) return compute_statistics(statistics, y, exec);
  WorkspaceScope scope(*exec.workspace);
  const CudaLimits limits = cuda_limits();
  Conv3dAlgorithm algorithm = choose_conv3d_algorithm(params, y, x, limits);
  if (norm != nullptr && !forward_applies_norm(algorithm, y, statistics, x, *norm)) {
    x = normalised(*norm, x, scope, exec);
    norm = nullptr;
    algorithm = choose_conv3d_algorithm(params, y, x, limits);  // x may lie better now
  }
  switch (algorithm) {
    case Conv3dAlgorithm::halo_tile:
      return conv3d_forward_halo_tile(y, x, weight, bias, params, limits.multiprocessors, exec, statistics,
                                      norm);
    case Conv3dAlgorithm::gemm:
      return conv3d_forward_gemm(y, x, weight, bias, params, exec, 0, statistics);
    case Conv3dAlgorithm::gemm_warpgroup:
      return conv3d_forward_gemm_warpgroup(y, x, weight, bias, params, exec, 0, statistics);
    case Conv3dAlgorithm::strided_gemm:
      return conv3d_forward_strided_gemm(y, x, weight, bias, exec, 0, statistics);
    case Conv3dAlgorithm::strided:
      return conv3d_forward_strided(y, x, weight, bias, limits.multiprocessors, exec, statistics, norm);
    case Conv3dAlgorithm::first_layer:
      return conv3d_forward_first_layer(y, x, weight, bias, limits.multiprocessors, exec, statistics);
    case Conv3dAlgorithm::pointwise:
      conv3d_forward_pointwise(y, x, weight, bias, exec, norm);
      break;
    case Conv3dAlgorithm::tf32:  // of float activations
    case Conv3dAlgorithm::direct:
      conv3d_forward_direct(y, x, weight, bias, params, exec);
  }
  compute_statistics(statistics, y, exec);
}

void conv3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                           const Conv3dParams& params, const Exec& exec) {
  const CudaLimits limits = cuda_limits();
  switch (choose_conv3d_backward_input_algorithm(params, dx, dy, limits)) {
    case Conv3dAlgorithm::halo_tile:
      return conv3d_backward_input_halo_tile(dx, dy, weight, params, limits.multiprocessors, exec);
    case Conv3dAlgorithm::gemm:
      return conv3d_backward_input_gemm(dx, dy, weight, params, exec);
    case Conv3dAlgorithm::gemm_warpgroup:
      return conv3d_backward_input_gemm_warpgroup(dx, dy, weight, params, exec);
    case Conv3dAlgorithm::strided_gemm:
      return conv3d_backward_input_strided_gemm(dx, dy, weight, nullptr, exec);
    case Conv3dAlgorithm::strided:
      return conv3d_backward_input_strided(dx, dy, weight, nullptr, limits.multiprocessors, exec);
    case Conv3dAlgorithm::pointwise:
      return conv3d_backward_input_pointwise(dx, dy, weight, exec);
    case Conv3dAlgorithm::first_layer:  // not in the list of input gradients
    case Conv3dAlgorithm::tf32:         // of float activations
    case Conv3dAlgorithm::direct:
      return conv3d_backward_input_direct(dx, dy, weight, nullptr, params, exec);
  }
}

void conv3d_add_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                               const Conv3dParams& params, const Exec& exec) {
  const CudaLimits limits = cuda_limits();
  const Conv3dAlgorithm algorithm = choose_conv3d_backward_input_algorithm(params, dx, dy, limits);
  if (algorithm == Conv3dAlgorithm::strided_gemm)
    return conv3d_add_backward_input_strided_gemm(dx, dy, weight, exec);
  if (algorithm == Conv3dAlgorithm::strided)
    return conv3d_add_backward_input_strided(dx, dy, weight, limits.multiprocessors, exec);
  WorkspaceScope scope(*exec.workspace);
  const View<bfloat16> own = contiguous_view(scope.allocate<bfloat16>(static_cast<size_t>(dx.elements())),
                                             dx.n, dx.d, dx.h, dx.w, dx.c);
  cuda::conv3d_backward_input(own, dy, weight, params, exec);
  kernels::accumulate(dx, own, 1, exec);
}

void conv3d_backward_weight(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                            const InputNorm* norm, const Conv3dParams& params, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const CudaLimits limits = cuda_limits();
  Conv3dAlgorithm algorithm = choose_conv3d_wgrad_algorithm(params, dy, x, limits);
  if (norm != nullptr && !wgrad_applies_norm(algorithm, dy, *norm)) {
    x = normalised(*norm, x, scope, exec);
    norm = nullptr;
    algorithm = choose_conv3d_wgrad_algorithm(params, dy, x, limits);
  }
  constexpr int multiprocessors = wgrad_multiprocessors;
  switch (algorithm) {
    case Conv3dAlgorithm::halo_tile:
      return conv3d_backward_weight_halo_tile(dweight, dy, x, multiprocessors, exec, norm);
    case Conv3dAlgorithm::gemm:
    case Conv3dAlgorithm::gemm_warpgroup:  // not in the list of weight gradients
      return conv3d_backward_weight_gemm(dweight, dy, x, params, exec);
    case Conv3dAlgorithm::strided_gemm:
      return conv3d_backward_weight_strided_gemm(dweight, dy, x, exec);
    case Conv3dAlgorithm::strided:
      return conv3d_backward_weight_strided(dweight, dy, x, multiprocessors, exec, norm);
    case Conv3dAlgorithm::first_layer:
      return conv3d_backward_weight_first_layer(dweight, dy, x, multiprocessors, exec);
    case Conv3dAlgorithm::pointwise:
      return conv3d_backward_weight_pointwise(dweight, dy, x, exec);
    case Conv3dAlgorithm::tf32:  // of float activations
    case Conv3dAlgorithm::direct:
      return conv3d_backward_weight_direct(dweight, dy, x, params, exec);
  }
}

void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NormInputGradient& source,
                            View<const bfloat16> x, const InputNorm* norm, const Conv3dParams& params,
                            const Exec& exec) {
  const Conv3dAlgorithm algorithm = choose_conv3d_wgrad_algorithm(params, source.dy, x, cuda_limits());
  const bool kept = dy.data != nullptr;
  if (input_norm_applies(source.norm) && norm_gradient_places(source.dy, source.x)) {
    if (algorithm == Conv3dAlgorithm::first_layer && !kept && norm == nullptr)
      return conv3d_backward_weight_first_layer(dweight, source.dy, x, wgrad_multiprocessors, exec, &source);
    // In place where a single block reads a voxel.
    const bool place =
        !kept || (norm_gradient_places(source.dy, dy) && (x.c == 16 || dy.data != source.dy.data));
    if (algorithm == Conv3dAlgorithm::halo_tile && place &&
        (norm == nullptr || wgrad_applies_norm(algorithm, source.dy, *norm)))
      return conv3d_backward_weight_halo_tile(dweight, source.dy, x, wgrad_multiprocessors, exec, norm,
                                              &source, dy);
  }
  WorkspaceScope scope(*exec.workspace);
  if (!kept) dy = scratch_like(source.dy, scope);
  cuda::norm3d_backward_input(dy, source.dy, source.x, source.norm, source.means, exec);
  cuda::conv3d_backward_weight(dweight, dy, x, norm, params, exec);
}

void conv3d_backward(const InputGradient& of_x, float* dweight, View<bfloat16> dy,
                     const NormInputGradient& source, View<const bfloat16> x, const InputNorm* norm,
                     const float* weight, const Conv3dParams& params, const Exec& exec) {
  const bool norms_apply = input_norm_applies(source.norm) && (norm == nullptr || input_norm_applies(*norm));
  if (norms_apply && norm_gradient_places(source.dy, source.x) &&
      strided_gradients_apply(params, of_x.dx, source.dy, x, cuda_limits()))
    return conv3d_backward_strided(of_x, dweight, source, x, norm, weight, wgrad_multiprocessors, exec);
  WorkspaceScope scope(*exec.workspace);
  if (dy.data == nullptr) dy = scratch_like(source.dy, scope);
  cuda::conv3d_backward_weight(dweight, dy, source, x, norm, params, exec);
  if (of_x.add) {
    cuda::conv3d_add_backward_input(of_x.dx, dy, weight, params, exec);
  } else {
    cuda::conv3d_backward_input(of_x.dx, dy, weight, params, exec);
  }
  if (of_x.norm_sums != nullptr) norm3d_gradient_sums(of_x.norm_sums, of_x.dx, x, *norm, exec);
}

void conv3d_backward_through_norm(View<bfloat16> dx, float* dweight, float* dbias,
                                  const NormGradients& gradients, View<const bfloat16> dy,
                                  View<const bfloat16> x, const InputNorm& norm, const float* weight,
                                  const Conv3dParams& params, float* means, const Exec& exec) {
  if (takes_norm_pointwise(params, dy, x, norm))
    return conv3d_backward_through_norm_pointwise(dx, dweight, dbias, gradients, dy, x, norm, weight, exec);
  if (dweight != nullptr) cuda::conv3d_backward_weight(dweight, dy, x, &norm, params, exec);
  if (dbias != nullptr) kernels::conv3d_backward_bias(dbias, dy, exec);
  WorkspaceScope scope(*exec.workspace);
  const bool finish = means == nullptr;
  if (finish) {
    const int64_t groups = norm.params.per_instance ? x.n : 1;
    means = scope.allocate<float>(static_cast<size_t>(2 * groups * x.c));
  }
  const CudaLimits limits = cuda_limits();
  if (choose_conv3d_backward_input_algorithm(params, dx, dy, limits) == Conv3dAlgorithm::halo_tile &&
      epilogue_sums(norm, x) && dx.elements() > 0) {
    const NormGradientRequest request{x, norm, gradients, means};
    conv3d_backward_input_halo_tile(dx, dy, weight, params, limits.multiprocessors, exec, &request);
  } else {
    cuda::conv3d_backward_input(dx, dy, weight, params, exec);
    cuda::norm3d_add_gradients(means, gradients, dx, x, norm, exec);
  }
  if (finish) cuda::norm3d_backward_input(dx, dx, x, norm, means, exec);
}

void conv3d_backward_through_norm(View<bfloat16> dx, float* dweight, const NormGradients& gradients,
                                  View<bfloat16> dy, const NormInputGradient& source, View<const bfloat16> x,
                                  const InputNorm& norm, const float* weight, const Conv3dParams& params,
                                  float* means, const Exec& exec) {
  if (dx.elements() > 0 && x.c == HaloGradientsTile::channels &&
      halo_gradients_apply(params, dx, source.dy, x, cuda_limits()) &&
      norm_gradient_places(source.dy, source.x) && input_norm_applies(source.norm) &&
      epilogue_sums(norm, x)) {
    return conv3d_backward_halo_tile(dx, dweight, source, {x, norm, gradients, means}, weight,
                                     wgrad_multiprocessors, exec);
  }
  WorkspaceScope scope(*exec.workspace);
  if (dy.data == nullptr) dy = scratch_like(source.dy, scope);
  cuda::conv3d_backward_weight(dweight, dy, source, x, &norm, params, exec);
  cuda::conv3d_backward_through_norm(dx, nullptr, nullptr, gradients, dy, x, norm, weight, params, means,
                                     exec);
}

void conv3d_backward_to_norm(float* dweight, float* dbias, const NormGradients& gradients, float* means,
                             View<const bfloat16> dy, View<const bfloat16> x, const InputNorm& norm,
                             const float* weight, const Conv3dParams& params, const Exec& exec) {
  if (takes_norm_pointwise(params, dy, x, norm))
    return conv3d_backward_to_norm_pointwise(dweight, dbias, gradients, means, dy, x, norm, weight, exec);
  WorkspaceScope scope(*exec.workspace);
  cuda::conv3d_backward_through_norm(scratch_like(x, scope), dweight, dbias, gradients, dy, x, norm, weight,
                                     params, means, exec);
}

void conv3d_make_gradient(View<bfloat16> dx, const NarrowGradient& source, const Exec& exec) {
  const Conv3dParams params{source.x.c, source.dy.c, 1, 1, 0};
  if (takes_norm_pointwise(params, source.dy, source.x, source.norm))
    return conv3d_make_gradient_pointwise(dx, source, exec);
  cuda::conv3d_backward_input(dx, source.dy, source.weight, params, exec);
  cuda::norm3d_backward_input(dx, dx, source.x, source.norm, source.means, exec);
}

void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                            View<const bfloat16> x, const InputNorm* norm, const Conv3dParams& params,
                            const Exec& exec) {
  const bool kept = dy.data != nullptr;
  if (choose_conv3d_wgrad_algorithm(params, source.x, x, cuda_limits()) == Conv3dAlgorithm::halo_tile &&
      (norm == nullptr || input_norm_applies(*norm)) && input_norm_applies(source.norm) &&
      narrow_gradient_applies(source) && (!kept || norm_gradient_places(source.x, dy)))
    return conv3d_backward_weight_halo_tile(dweight, source, x, wgrad_multiprocessors, exec, norm, dy);
  WorkspaceScope scope(*exec.workspace);
  if (!kept) dy = scratch_like(source.x, scope);
  cuda::conv3d_make_gradient(dy, source, exec);
  cuda::conv3d_backward_weight(dweight, dy, x, norm, params, exec);
}

void conv3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                     View<const bfloat16> x, const InputNorm* norm, const float* weight,
                     const Conv3dParams& params, const Exec& exec) {
  if (dx.elements() > 0 && halo_gradients_apply(params, dx, source.x, x, cuda_limits()) && norm != nullptr &&
      input_norm_applies(*norm) && input_norm_applies(source.norm) && narrow_gradient_applies(source))
    return conv3d_backward_halo_tile(dx, dweight, source, x, *norm, weight, wgrad_multiprocessors, exec);
  WorkspaceScope scope(*exec.workspace);
  if (dy.data == nullptr) dy = scratch_like(source.x, scope);
  cuda::conv3d_backward_weight(dweight, dy, source, x, norm, params, exec);
  cuda::conv3d_backward_input(dx, dy, weight, params, exec);
}

}  // namespace vg::kernels::cuda
