// A transposed convolution is the input gradient of the strided convolution with the same weights, and the
// other way round: the passes are those of the convolution.
#include "kernels/common/simd.h"
#include "kernels/conv3d/conv3d_passes_cpu.h"
#include "kernels/conv_transpose3d/conv_transpose3d_impl.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

Weights forward_weights(const float* weight, const ConvTranspose3dParams& p) {
  return producing_second(weight, p.in_channels, p.out_channels, p.kernel_size, false);
}

}  // namespace

void conv_transpose3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                              const ConvTranspose3dParams& p, const Exec& exec) {
  correlate_transposed(y, x, forward_weights(weight, p), {bias}, p.padding, exec);
}

int64_t conv_transpose3d_packed_floats(const WeightPacking& packing, const ConvTranspose3dParams& params) {
  Weights weights = forward_weights(nullptr, params);
  weights.bfloat16 = packing.bfloat16;
  return weights.packed_floats();
}

void conv_transpose3d_pack(float* packed, const float* weight, const WeightPacking& packing,
                           const ConvTranspose3dParams& params) {
  Weights weights = forward_weights(weight, params);
  weights.bfloat16 = packing.bfloat16;
  pack_weights(packed, weights);
}

void conv_transpose3d_forward(View<float> y, View<const float> x, const PackedWeights& packed,
                              const float* bias, const OutputActivation& activation,
                              const ConvTranspose3dParams& params, const Exec& exec) {
  Weights weights = forward_weights(nullptr, params);
  weights.packed = packed.data, weights.bfloat16 = packed.packing.bfloat16;
  correlate_transposed(y, x, weights, {bias, activation}, params.padding, exec);
}

void conv_transpose3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                                     const ConvTranspose3dParams& p, const Exec& exec) {
  const Weights weights = producing_first(weight, p.in_channels, p.out_channels, p.kernel_size);
  correlate(dx, dy, weights, {}, p.stride, p.padding, exec);
}

void conv_transpose3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                                      const ConvTranspose3dParams& p, const Exec& exec) {
  correlation_gradient(dweight, x, dy, p.kernel_size, p.stride, p.padding, exec);
}

}  // namespace vg::kernels::cpu::VG_ISA
