// Transposed 3D convolution: function and module.
#pragma once

#include "kernels/conv_transpose3d/conv_transpose3d.h"
#include "layers/channel_statistics.h"
#include "layers/module.h"

namespace vg {

using kernels::ConvTranspose3dParams;

/// As PyTorch's conv_transpose3d. x: [N, D, H, W, in_channels]; weight: (in, out, k, k, k); bias: [out] or
/// undefined. Returns [N, 2D, 2H, 2W, out_channels]. `statistics`: not null
/// says that the result is normalised with its own statistics, which are left there where the convolution
/// finds them on its way (with bfloat16). The norm takes the bias away again: its gradient is zero then, and
/// is not computed. `into`: memory for the result, of its shape, or undefined. Throws std::invalid_argument
/// if shapes, devices or params do not fit.
Tensor conv_transpose3d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvTranspose3dParams& params, ChannelStatistics* statistics = nullptr,
                        const Tensor& into = {});

/// Parameters "weight" and, if asked for, "bias"; zero until an initialiser fills them.
class ConvTranspose3d : public Module {
 public:
  explicit ConvTranspose3d(const ConvTranspose3dParams& params, bool with_bias = true,
                           Device device = Device::cpu);
  Tensor operator()(const Tensor& x, ChannelStatistics* statistics = nullptr, const Tensor& into = {}) const {
    return conv_transpose3d(x, weight_, bias(), params_, statistics, into);
  }

  [[nodiscard]] const ConvTranspose3dParams& params() const { return params_; }
  [[nodiscard]] Tensor& weight() const { return weight_; }
  /// Undefined if there is none.
  [[nodiscard]] Tensor bias() const { return bias_ != nullptr ? *bias_ : Tensor(); }

 private:
  ConvTranspose3dParams params_;
  Tensor& weight_;
  Tensor* bias_;
};

}  // namespace vg
