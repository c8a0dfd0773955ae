#include "kernels/conv_transpose3d/conv_transpose3d.h"

#include "kernels/common/check_shape.h"
#include "kernels/conv3d/conv3d_check.h"
#include "kernels/conv3d/conv3d_strided_tile.h"
#include "kernels/conv_transpose3d/conv_transpose3d_impl.h"

namespace vg::kernels {

namespace {

void check_axis(const char* function, char axis, int64_t input, int64_t output,
                const ConvTranspose3dParams& p) {
  require(input > 0, function, ": the input's extent along ", axis, " is ", input, ", expected at least 1");
  check_output_extent(function, axis, input, output, conv_transpose3d_output_extent(input, p));
}

void check(const char* function, const ConvTranspose3dParams& p) {
  const bool kernel3 = p.kernel_size == 3 && p.padding == 1 && p.output_padding == 1;
  const bool kernel2 = p.kernel_size == 2 && p.padding == 0 && p.output_padding == 0;
  require(p.stride == 2 && (kernel3 || kernel2), function, ": kernel_size ", p.kernel_size, ", stride ",
          p.stride, ", padding ", p.padding, ", output_padding ", p.output_padding,
          "; expected 3, 2, 1, 1 or 2, 2, 0, 0");
}

// x and y (or their gradients) and weights against the parameters.
template <class X, class Y>
void check(const char* function, const View<X>& x, const View<Y>& y, const float* weight,
           const ConvTranspose3dParams& p, const Exec& exec) {
  check(function, p);
  check_convolution_operands(function, x, y, weight, p, exec);
  check_axis(function, 'D', x.d, y.d, p);
  check_axis(function, 'H', x.h, y.h, p);
  check_axis(function, 'W', x.w, y.w, p);
}

}  // namespace

void conv_transpose3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                              const ConvTranspose3dParams& params, const Exec& exec) {
  check("conv_transpose3d_forward", x, y, weight, params, exec);
  VG_DISPATCH(exec, conv_transpose3d_forward, y, x, weight, bias, params, exec);
}

void conv_transpose3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                                     const ConvTranspose3dParams& params, const Exec& exec) {
  check("conv_transpose3d_backward_input", dx, dy, weight, params, exec);
  VG_DISPATCH(exec, conv_transpose3d_backward_input, dx, dy, weight, params, exec);
}

void conv_transpose3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                                      const ConvTranspose3dParams& params, const Exec& exec) {
  check("conv_transpose3d_backward_weight", x, dy, dweight, params, exec);
  VG_DISPATCH(exec, conv_transpose3d_backward_weight, dweight, dy, x, params, exec);
}

void conv_transpose3d_forward(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                              const float* bias, const ConvTranspose3dParams& params, const Exec& exec) {
  check("conv_transpose3d_forward", x, y, weight, params, exec);
  VG_DISPATCH_CUDA(exec, conv_transpose3d_forward, y, nullptr, x, weight, bias, params, exec);
}

void conv_transpose3d_forward(View<bfloat16> y, const OutputStatistics& statistics, View<const bfloat16> x,
                              const float* weight, const float* bias, const ConvTranspose3dParams& params,
                              const Exec& exec) {
  check("conv_transpose3d_forward", x, y, weight, params, exec);
  require(statistics.mean != nullptr && statistics.variance != nullptr,
          "conv_transpose3d_forward: a pointer to the statistics is null");
  VG_DISPATCH_CUDA(exec, conv_transpose3d_forward, y, &statistics, x, weight, bias, params, exec);
}

void conv_transpose3d_backward_input(View<bfloat16> dx, View<const bfloat16> dy, const float* weight,
                                     const ConvTranspose3dParams& params, const Exec& exec) {
  check("conv_transpose3d_backward_input", dx, dy, weight, params, exec);
  VG_DISPATCH_CUDA(exec, conv_transpose3d_backward_input, dx, dy, weight, params, exec);
}

void conv_transpose3d_backward_weight(float* dweight, View<const bfloat16> dy, View<const bfloat16> x,
                                      const ConvTranspose3dParams& params, const Exec& exec) {
  check("conv_transpose3d_backward_weight", x, dy, dweight, params, exec);
  VG_DISPATCH_CUDA(exec, conv_transpose3d_backward_weight, dweight, dy, x, params, exec);
}

bool conv_transpose3d_makes_both_gradients(const ConvTranspose3dParams& params) {
  return params.kernel_size == 3 && params.in_channels == TransposedGradientsTile::coarse_channels &&
         params.out_channels == TransposedGradientsTile::channels;
}

void conv_transpose3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy,
                               const NormInputGradient& source, View<const bfloat16> x, const float* weight,
                               const ConvTranspose3dParams& params, const Exec& exec) {
  const char* const function = "conv_transpose3d_backward";
  check(function, x, source.dy, weight, params, exec);
  require(dweight != nullptr, function, ": the pointer to the weights' gradient is null");
  require_same_shape(function, dx, x);
  if (dy.data != nullptr) require_same_shape(function, dy, source.dy);
  require_same_shape(function, source.x, source.dy);
  check_norm(function, source.norm);
  require(source.norm.first_channel == 0, function, ": the norm begins at channel ",
          source.norm.first_channel, ", expected one of all channels");
  VG_DISPATCH_CUDA(exec, conv_transpose3d_backward, dx, dweight, dy, source, x, weight, params, exec);
}

WeightPacking conv_transpose3d_packing(const ConvTranspose3dParams& params, bool bfloat16_products) {
  check("conv_transpose3d_packing", params);
  const WeightPacking packing{cpu::active_isa(), WeightOrder::direct,
                              bfloat16_products && params.kernel_size == 3};
  check_packing("conv_transpose3d_packing", packing, {});
  return packing;
}

int64_t conv_transpose3d_packed_floats(const WeightPacking& packing, const ConvTranspose3dParams& params) {
  check("conv_transpose3d_packed_floats", params);
  check_packing("conv_transpose3d_packed_floats", packing, {});
  VG_CALL_CPU(conv_transpose3d_packed_floats, packing, params);
  throw std::logic_error("unknown instruction set");
}

void conv_transpose3d_pack(float* packed, const float* weight, const WeightPacking& packing,
                           const ConvTranspose3dParams& params, const Exec& exec) {
  check("conv_transpose3d_pack", params);
  check_packing("conv_transpose3d_pack", packing, exec);
  require(packed != nullptr && weight != nullptr, "conv_transpose3d_pack: a pointer to weights is null");
  if (exec.planning) return;
  VG_CALL_CPU(conv_transpose3d_pack, packed, weight, packing, params);
}

void conv_transpose3d_forward(View<float> y, View<const float> x, const PackedWeights& weights,
                              const float* bias, const OutputActivation& activation,
                              const ConvTranspose3dParams& params, const Exec& exec) {
  check("conv_transpose3d_forward", x, y, weights.data, params, exec);
  check_packing("conv_transpose3d_forward", weights.packing, exec);
  check_output_activation("conv_transpose3d_forward", activation, params.out_channels);
  require(weights.packing.order == WeightOrder::direct,
          "conv_transpose3d_forward: the weights are packed for Winograd");
  if (exec.planning) return;
  VG_CALL_CPU(conv_transpose3d_forward, y, x, weights, bias, activation, params, exec);
}

}  // namespace vg::kernels
