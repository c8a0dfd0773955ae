#include "kernels/conv3d/conv3d.h"

#include "kernels/common/check_shape.h"
#include "kernels/conv3d/conv3d_check.h"
#include "kernels/conv3d/conv3d_impl.h"
#include "kernels/conv3d/conv3d_narrow_gradient.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/reduce/reduce.h"

namespace vg::kernels {

namespace {

void check_axis(const char* function, char axis, int64_t input, int64_t output, const Conv3dParams& p) {
  require(input + 2 * p.padding >= p.kernel_size, function, ": the input's extent along ", axis, " is ",
          input, ", too small for a kernel of ", p.kernel_size, " with padding ", p.padding);
  check_output_extent(function, axis, input, output, conv3d_output_extent(input, p));
}

void check(const char* function, const Conv3dParams& p) {
  require(p.kernel_size == 1 || p.kernel_size == 3, function, ": kernel_size is ", p.kernel_size,
          ", expected 1 or 3");
  require(p.stride == 1 || p.stride == 2, function, ": stride is ", p.stride, ", expected 1 or 2");
  require(p.padding >= 0 && p.padding <= p.kernel_size / 2, function, ": padding is ", p.padding,
          ", expected 0 to ", p.kernel_size / 2);
}

// x and y (or their gradients) and weights against the parameters.
template <class X, class Y>
void check(const char* function, const View<X>& x, const View<Y>& y, const float* weight,
           const Conv3dParams& p, const Exec& exec) {
  check(function, p);
  check_convolution_operands(function, x, y, weight, p, exec);
  check_axis(function, 'D', x.d, y.d, p);
  check_axis(function, 'H', x.h, y.h, p);
  check_axis(function, 'W', x.w, y.w, p);
}

void check_bias(const char* function, const float* bias, const Exec& exec) {
  require(bias != nullptr, function, ": the bias pointer is null");
  require(exec.workspace != nullptr, function, ": the workspace pointer is null");
}

void check(const char* function, const OutputStatistics& statistics) {
  require(statistics.mean != nullptr && statistics.variance != nullptr, function,
          ": a pointer to the statistics is null");
}

void check(const char* function, const InputNorm& norm) {
  check_norm(function, norm);
}

}  // namespace

void conv3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                    const Conv3dParams& params, const Exec& exec) {
  check("conv3d_forward", x, y, weight, params, exec);
  VG_DISPATCH(exec, conv3d_forward, y, x, weight, bias, params, exec);
}

void conv3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                           const Conv3dParams& params, const Exec& exec) {
  check("conv3d_backward_input", dx, dy, weight, params, exec);
  VG_DISPATCH(exec, conv3d_backward_input, dx, dy, weight, params, exec);
}

void conv3d_forward(View<bfloat16> y, View<const bfloat16> x, const float* weight, const float* bias,
                    const Conv3dParams& params, const Exec& exec) {
  check("conv3d_forward", x, y, weight, params, exec);
  VG_DISPATCH_CUDA(exec, conv3d_forward, y, nullptr, x, nullptr, weight, bias, params, exec);
}

void conv3d_forward(View<bfloat16> y, const OutputStatistics& statistics, View<const bfloat16> x,
                    const float* weight, const float* bias, const Conv3dParams& params, const Exec& exec) {
  check("conv3d_forward", x, y, weight, params, exec);
  check("conv3d_forward", statistics);
  VG_DISPATCH_CUDA(exec, conv3d_forward, y, &statistics, x, nullptr, weight, bias, params, exec);
}

void conv3d_forward(View<bfloat16> y, const OutputStatistics* statistics, View<const bfloat16> x,
                    const InputNorm& norm, const float* weight, const float* bias, const Conv3dParams& params,
                    const Exec& exec) {
  check("conv3d_forward", x, y, weight, params, exec);
  if (statistics != nullptr) check("conv3d_forward", *statistics);
  check("conv3d_forward", norm);
  VG_DISPATCH_CUDA(exec, conv3d_forward, y, statistics, x, &norm, weight, bias, params, exec);
}

void conv3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                           const Conv3dParams& params, const Exec& exec) {
  check("conv3d_backward_input", dx, dy, weight, params, exec);
  VG_DISPATCH_CUDA(exec, conv3d_backward_input, dx, dy, weight, params, exec);
}

void conv3d_add_backward_input(View<float> dx, View<const float> dy, const float* weight,
                               const Conv3dParams& params, const Exec& exec) {
  check("conv3d_add_backward_input", dx, dy, weight, params, exec);
  if (exec.planning) return;
  if (exec.device == DeviceKind::cpu && params.kernel_size == 3 && params.stride == 2) {
    VG_CALL_CPU(conv3d_add_backward_input_strided, dx, dy, weight, params, exec);
  }
  WorkspaceScope scope(*exec.workspace);
  const View<float> own = contiguous_view(scope.allocate<float>(static_cast<size_t>(dx.elements())), dx.n,
                                          dx.d, dx.h, dx.w, dx.c);
  conv3d_backward_input(own, dy, weight, params, exec);
  accumulate(dx, own, 1, exec);
}

void conv3d_add_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                               const Conv3dParams& params, const Exec& exec) {
  check("conv3d_add_backward_input", dx, dy, weight, params, exec);
  VG_DISPATCH_CUDA(exec, conv3d_add_backward_input, dx, dy, weight, params, exec);
}

void conv3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                            const Conv3dParams& params, const Exec& exec) {
  check("conv3d_backward_weight", x, dy, dweight, params, exec);
  VG_DISPATCH(exec, conv3d_backward_weight, dweight, dy, x, params, exec);
}

void conv3d_backward_weight(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                            const Conv3dParams& params, const Exec& exec) {
  check("conv3d_backward_weight", x, dy, dweight, params, exec);
  VG_DISPATCH_CUDA(exec, conv3d_backward_weight, dweight, dy, x, nullptr, params, exec);
}

void conv3d_backward_weight(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                            const InputNorm& norm, const Conv3dParams& params, const Exec& exec) {
  check("conv3d_backward_weight", x, dy, dweight, params, exec);
  check("conv3d_backward_weight", norm);
  VG_DISPATCH_CUDA(exec, conv3d_backward_weight, dweight, dy, x, &norm, params, exec);
}

namespace {

WeightOrder weight_order(const View<const float>& x, const Conv3dParams& params) {
  VG_CALL_CPU(conv3d_weight_order, x, params);
  throw std::logic_error("unknown instruction set");
}

}  // namespace

bool has_fast_bfloat16_products() {
#if defined(__x86_64__)
  return cpu::active_isa() == cpu::Isa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

WeightPacking conv3d_packing(const View<const float>& x, const Conv3dParams& params, bool bfloat16_products) {
  check("conv3d_packing", params);
  const WeightPacking packing{cpu::active_isa(), weight_order(x, params),
                              bfloat16_products && params.kernel_size == 3};
  check_packing("conv3d_packing", packing, {});
  return packing;
}

int64_t conv3d_packed_floats(const WeightPacking& packing, const Conv3dParams& params) {
  check("conv3d_packed_floats", params);
  check_packing("conv3d_packed_floats", packing, {});
  VG_CALL_CPU(conv3d_packed_floats, packing, params);
  throw std::logic_error("unknown instruction set");
}

void conv3d_pack(float* packed, const float* weight, const WeightPacking& packing, const Conv3dParams& params,
                 const Exec& exec) {
  check("conv3d_pack", params);
  check_packing("conv3d_pack", packing, exec);
  require(packed != nullptr && weight != nullptr, "conv3d_pack: a pointer to weights is null");
  if (exec.planning) return;
  VG_CALL_CPU(conv3d_pack, packed, weight, packing, params);
}

void conv3d_forward(View<float> y, View<const float> x, const PackedWeights& weights, const float* bias,
                    const OutputActivation& activation, const Conv3dParams& params, const Exec& exec) {
  check("conv3d_forward", x, y, weights.data, params, exec);
  check_packing("conv3d_forward", weights.packing, exec);
  check_output_activation("conv3d_forward", activation, params.out_channels);
  require(weights.packing.order == weight_order(x, params),
          "conv3d_forward: the weights are packed for inputs of another shape, method or halo");
  if (exec.planning) return;
  VG_CALL_CPU(conv3d_forward, y, x, weights, bias, activation, params, exec);
}

namespace {

// A gradient of a norm's input that is still to be made, and where it may be left (or a view without data).
void check(const char* function, const NormInputGradient& source, const View<bfloat16>& dy) {
  require_same_shape(function, source.x, source.dy);
  if (dy.data != nullptr) require_same_shape(function, dy, source.dy);
  check(function, source.norm);
  require(source.norm.first_channel == 0, function, ": the norm begins at channel ",
          source.norm.first_channel, ", expected one of all channels");
}

}  // namespace

void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NormInputGradient& source,
                            View<const bfloat16> x, const InputNorm* norm, const Conv3dParams& params,
                            const Exec& exec) {
  const char* const function = "conv3d_backward_weight";
  check(function, x, source.dy, dweight, params, exec);
  check(function, source, dy);
  if (norm != nullptr) check(function, *norm);
  VG_DISPATCH_CUDA(exec, conv3d_backward_weight, dweight, dy, source, x, norm, params, exec);
}

void conv3d_backward(const InputGradient& of_x, float* dweight, View<bfloat16> dy,
                     const NormInputGradient& source, View<const bfloat16> x, const InputNorm* norm,
                     const float* weight, const Conv3dParams& params, const Exec& exec) {
  const char* const function = "conv3d_backward";
  check(function, x, source.dy, weight, params, exec);
  require(dweight != nullptr, function, ": the pointer to the weights' gradient is null");
  check(function, source, dy);
  if (norm != nullptr) check(function, *norm);
  require_same_shape(function, of_x.dx, x);
  require(of_x.norm_sums == nullptr || (norm != nullptr && norm->first_channel == 0 &&
                                        norm->params.activation.kind != ActivationKind::prelu),
          function, ": sums are for a norm of all input channels, without prelu");
  VG_DISPATCH_CUDA(exec, conv3d_backward, of_x, dweight, dy, source, x, norm, weight, params, exec);
}

namespace {

void check_through_norm(const View<bfloat16>& dx, const NormGradients& gradients,
                        const View<const bfloat16>& dy, const View<const bfloat16>& x, const InputNorm& norm,
                        const float* weight, const Conv3dParams& params, const Exec& exec) {
  const char* const function = "conv3d_backward_through_norm";
  check(function, x, dy, weight, params, exec);
  check(function, norm);
  require_same_shape(function, dx, x);
  require(norm.first_channel == 0, function, ": the norm begins at channel ", norm.first_channel,
          ", expected one of all channels");
  require(norm.params.activation.kind != ActivationKind::prelu || gradients.slope != nullptr, function,
          ": prelu needs the gradient of its slope, found null");
}

}  // namespace

void conv3d_backward_through_norm(View<bfloat16> dx, float* dweight, float* dbias,
                                  const NormGradients& gradients, View<const bfloat16> dy,
                                  View<const bfloat16> x, const InputNorm& norm, const float* weight,
                                  const Conv3dParams& params, const Exec& exec) {
  check_through_norm(dx, gradients, dy, x, norm, weight, params, exec);
  VG_DISPATCH_CUDA(exec, conv3d_backward_through_norm, dx, dweight, dbias, gradients, dy, x, norm, weight,
                   params, nullptr, exec);
}

void conv3d_backward_through_norm(View<bfloat16> dx, float* dweight, float* dbias,
                                  const NormGradients& gradients, View<const bfloat16> dy,
                                  View<const bfloat16> x, const InputNorm& norm, const float* weight,
                                  const Conv3dParams& params, float* means, const Exec& exec) {
  check_through_norm(dx, gradients, dy, x, norm, weight, params, exec);
  require(means != nullptr && params.kernel_size == 3,
          "conv3d_backward_through_norm: expected memory for the norm's means, and kernel 3");
  VG_DISPATCH_CUDA(exec, conv3d_backward_through_norm, dx, dweight, dbias, gradients, dy, x, norm, weight,
                   params, means, exec);
}

void conv3d_backward_through_norm(View<bfloat16> dx, float* dweight, const NormGradients& gradients,
                                  View<bfloat16> dy, const NormInputGradient& source, View<const bfloat16> x,
                                  const InputNorm& norm, const float* weight, const Conv3dParams& params,
                                  float* means, const Exec& exec) {
  const char* const function = "conv3d_backward_through_norm";
  check_through_norm(dx, gradients, source.dy, x, norm, weight, params, exec);
  check(function, source, dy);
  require(dweight != nullptr && means != nullptr && params.kernel_size == 3, function,
          ": expected memory for the gradient of the weights and the norm's means, and kernel 3");
  require(dx.data != dy.data && dx.data != source.dy.data, function,
          ": dx lies where the gradient of the output does");
  VG_DISPATCH_CUDA(exec, conv3d_backward_through_norm, dx, dweight, gradients, dy, source, x, norm, weight,
                   params, means, exec);
}

void conv3d_backward_to_norm(float* dweight, float* dbias, const NormGradients& gradients, float* means,
                             View<const bfloat16> dy, View<const bfloat16> x, const InputNorm& norm,
                             const float* weight, const Conv3dParams& params, const Exec& exec) {
  const View<bfloat16> none{.n = x.n, .d = x.d, .h = x.h, .w = x.w, .c = x.c};
  check_through_norm(none, gradients, dy, x, norm, weight, params, exec);
  require(means != nullptr, "conv3d_backward_to_norm: no memory for the norm's means");
  VG_DISPATCH_CUDA(exec, conv3d_backward_to_norm, dweight, dbias, gradients, means, dy, x, norm, weight,
                   params, exec);
}

namespace {

void check(const char* function, const NarrowGradient& source, const Exec& exec) {
  check(function, source.x, source.dy, source.weight, {source.x.c, source.dy.c, 1, 1, 0}, exec);
  check(function, source.norm);
  require(source.norm.first_channel == 0, function, ": the norm begins at channel ",
          source.norm.first_channel, ", expected one of all channels");
}

}  // namespace

void conv3d_make_gradient(View<bfloat16> dx, const NarrowGradient& source, const Exec& exec) {
  check("conv3d_make_gradient", source, exec);
  require_same_shape("conv3d_make_gradient", dx, source.x);
  VG_DISPATCH_CUDA(exec, conv3d_make_gradient, dx, source, exec);
}

void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                            View<const bfloat16> x, const InputNorm* norm, const Conv3dParams& params,
                            const Exec& exec) {
  const char* const function = "conv3d_backward_weight";
  check(function, source, exec);
  check(function, x, source.x, dweight, params, exec);
  if (dy.data != nullptr) require_same_shape(function, dy, source.x);
  if (norm != nullptr) check(function, *norm);
  VG_DISPATCH_CUDA(exec, conv3d_backward_weight, dweight, dy, source, x, norm, params, exec);
}

void conv3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                     View<const bfloat16> x, const InputNorm* norm, const float* weight,
                     const Conv3dParams& params, const Exec& exec) {
  const char* const function = "conv3d_backward";
  check(function, source, exec);
  check(function, x, source.x, weight, params, exec);
  require(dweight != nullptr, function, ": the pointer to the gradient of the weights is null");
  require_same_shape(function, dx, x);
  if (dy.data != nullptr) require_same_shape(function, dy, source.x);
  if (norm != nullptr) check(function, *norm);
  VG_DISPATCH_CUDA(exec, conv3d_backward, dx, dweight, dy, source, x, norm, weight, params, exec);
}

void conv3d_backward_bias(float* dbias, View<const float> dy, const Exec& exec) {
  check_bias("conv3d_backward_bias", dbias, exec);
  reduce_channels(dbias, dy, exec);
}

void conv3d_backward_bias(float* dbias, View<const bfloat16> dy, const Exec& exec) {
  check_bias("conv3d_backward_bias", dbias, exec);
  reduce_channels(dbias, dy, exec);
}

}  // namespace vg::kernels
