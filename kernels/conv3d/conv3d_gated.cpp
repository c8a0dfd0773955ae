#include "kernels/conv3d/conv3d_gated.h"

#include "kernels/common/check_shape.h"
#include "kernels/common/dispatch.h"
#include "kernels/conv3d/conv3d_check.h"
#include "kernels/conv3d/conv3d_halo_tile.h"

namespace vg::kernels {

namespace {

// The input, y or its gradient, and weights against the parameters.
template <class Y>
void check(const char* function, const GatedInput& x, const View<Y>& y, const float* weight,
           const Conv3dParams& p, const Exec& exec) {
  require_same_shape(function, x.rest, x.skip);
  require(x.scores.same_voxels(x.skip) && x.scores.c == 1, function,
          ": the scores are not one for each voxel of the skip connection");
  View<const bfloat16> both = x.skip;
  both.c *= 2;
  check_convolution_operands(function, both, y, weight, p, exec);
  require(p.kernel_size == 3 && p.stride == 1 && p.padding == 1 && y.same_voxels(x.skip), function,
          ": a gated input is for kernel 3, stride 1 and padding 1");
  require(x.gate.norm_of_x.mean != nullptr && x.norm_of_rest.mean != nullptr &&
              x.gate.norm_of_x.first_channel == 0 && x.norm_of_rest.first_channel == 0,
          function, ": a gated input is of two norms, each of all its channels");
  require(x.statistics.mean_psi != nullptr && x.statistics.variance_psi != nullptr &&
              x.weights.gamma_psi != nullptr && x.weights.beta_psi != nullptr,
          function, ": a pointer to psi's batch norm is null");
}

}  // namespace

bool conv3d_applies_gate(const Conv3dParams& p, int64_t width) {
  // With narrower tiles on both sides of the channels the weights stay in shared memory, which leaves no
  // barrier between the copy of scores and their use.
  const int index = halo_tile_index(p.in_channels, p.out_channels);
  return conv3d_applies_norm(p) && p.kernel_size == 3 && p.stride == 1 && width % 4 == 0 &&
         (p.in_channels == 32 || p.in_channels == 64) && index >= 0 && halo_tiles[index].weight_pieces > 0;
}

void conv3d_forward(View<bfloat16> y, const OutputStatistics& statistics, const GatedInput& x,
                    const float* weight, const float* bias, const Conv3dParams& params, const Exec& exec) {
  check("conv3d_forward", x, y, weight, params, exec);
  VG_DISPATCH_CUDA(exec, conv3d_forward, y, statistics, x, weight, bias, params, exec);
}
void conv3d_backward_weight(float* dweight, View<const bfloat16> dy, const GatedInput& x,
                            const Conv3dParams& params, const Exec& exec) {
  check("conv3d_backward_weight", x, dy, dweight, params, exec);
  VG_DISPATCH_CUDA(exec, conv3d_backward_weight, dweight, dy, x, params, exec);
}
void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NormInputGradient& source,
                            const GatedInput& x, const Conv3dParams& params, const Exec& exec) {
  check("conv3d_backward_weight", x, source.dy, dweight, params, exec);
  require_same_shape("conv3d_backward_weight", source.x, source.dy);
  if (dy.data != nullptr) require_same_shape("conv3d_backward_weight", dy, source.dy);
  VG_DISPATCH_CUDA(exec, conv3d_backward_weight, dweight, dy, source, x, params, exec);
}
void conv3d_backward_weight(float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                            const GatedInput& x, const Conv3dParams& params, const Exec& exec) {
  check("conv3d_backward_weight", x, source.x, dweight, params, exec);
  require(source.dy.same_voxels(source.x), "conv3d_backward_weight: the narrow gradient is of other voxels");
  if (dy.data != nullptr) require_same_shape("conv3d_backward_weight", dy, source.x);
  VG_DISPATCH_CUDA(exec, conv3d_backward_weight, dweight, dy, source, x, params, exec);
}

void conv3d_backward(View<bfloat16> dx, float* dweight, View<bfloat16> dy, const NarrowGradient& source,
                     const GatedInput& x, const float* weight, const Conv3dParams& params, const Exec& exec) {
  const char* const function = "conv3d_backward";
  check(function, x, source.x, weight, params, exec);
  require(dweight != nullptr, function, ": the pointer to the gradient of the weights is null");
  require(source.dy.same_voxels(source.x), function, ": the narrow gradient is of other voxels");
  require(dx.same_voxels(x.skip) && dx.c == 2 * x.skip.c, function,
          ": the gradient of the input is of other voxels or channels");
  if (dy.data != nullptr) require_same_shape(function, dy, source.x);
  VG_DISPATCH_CUDA(exec, conv3d_backward, dx, dweight, dy, source, x, weight, params, exec);
}

}  // namespace vg::kernels
