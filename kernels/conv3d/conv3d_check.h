// Argument checks that convolution and transposed convolution share.
#pragma once

#include "kernels/common/check.h"
#include "kernels/common/exec.h"
#include "kernels/common/view.h"
#include "kernels/conv3d/conv3d_inference.h"
#include "kernels/norm3d/norm3d.h"

namespace vg::kernels {

/// Channels, samples and pointers of x and y (or their gradients) against the parameters. Throws
/// std::invalid_argument.
template <class X, class Y, class Params>
void check_convolution_operands(const char* function, const View<X>& x, const View<Y>& y, const float* weight,
                                const Params& p, const Exec& exec) {
  require(p.in_channels > 0 && p.out_channels > 0, function, ": channels are ", p.in_channels, " and ",
          p.out_channels, ", expected at least 1");
  require(x.c == p.in_channels, function, ": the input has ", x.c, " channels, expected ", p.in_channels);
  require(y.c == p.out_channels, function, ": the output has ", y.c, " channels, expected ", p.out_channels);
  require(x.n == y.n, function, ": the input has ", x.n, " samples, the output ", y.n);
  require(weight != nullptr, function, ": the weight pointer is null");
  require(exec.workspace != nullptr, function, ": the workspace pointer is null");
}

/// The output's extent along an axis against the one that follows from the input's.
inline void check_output_extent(const char* function, char axis, int64_t input, int64_t output,
                                int64_t expected) {
  require(output == expected, function, ": the output's extent along ", axis, " is ", output, ", expected ",
          expected, " for an input of ", input);
}

/// Packed weights on this device, for the instruction set in force.
inline void check_packing(const char* function, const WeightPacking& packing, const Exec& exec) {
  require(exec.device == DeviceKind::cpu, function, ": packed weights are for the CPU");
  require(packing.isa == cpu::active_isa(), function, ": the weights are packed for ",
          cpu::isa_name(packing.isa), ", expected ", cpu::isa_name(cpu::active_isa()));
  require(!packing.bfloat16 || packing.isa != cpu::Isa::avx512 || has_fast_bfloat16_products(), function,
          ": this processor has no AVX512_BF16");
}

/// Pointers, slope and first channel of a norm that a convolution applies, or makes the gradient of.
inline void check_norm(const char* function, const InputNorm& norm) {
  require(norm.mean != nullptr && norm.variance != nullptr, function,
          ": the input's norm has no mean or variance");
  require((norm.gamma == nullptr) == (norm.beta == nullptr), function,
          ": the input's norm has one of gamma and beta, expected both or none");
  require(norm.first_channel >= 0 && norm.first_channel % 8 == 0, function,
          ": the input's norm begins at channel ", norm.first_channel, ", expected a multiple of 8");
  const bool prelu = norm.params.activation.kind == ActivationKind::prelu;
  require(prelu == (norm.slope != nullptr), function, ": the input's norm: a slope is for prelu alone");
}

inline void check_output_activation(const char* function, const OutputActivation& activation,
                                    int64_t channels) {
  const ActivationParams& p = activation.params;
  require(p.kind != ActivationKind::sigmoid, function, ": the output cannot take a sigmoid");
  require((p.kind == ActivationKind::prelu) == (activation.slope != nullptr), function,
          ": a slope is for prelu alone, and prelu needs one");
  require(p.kind != ActivationKind::prelu || p.slope_count == 1 || p.slope_count == channels, function, ": ",
          p.slope_count, " slopes, expected 1 or ", channels);
}

}  // namespace vg::kernels
