// 3D convolution: function and module.
#pragma once

#include "kernels/conv3d/conv3d.h"
#include "layers/channel_statistics.h"
#include "layers/module.h"
#include "layers/norm3d.h"

namespace vg {

using kernels::Conv3dParams;

/// Cross-correlation as PyTorch's conv3d. x: [N, D, H, W, in_channels]; weight: (out, in, k, k, k); bias:
/// [out] or undefined. Returns [N, D', H', W', out_channels]. `statistics`: not null
/// says that the result is normalised with its own statistics, which are left there where the convolution
/// finds them on its way (with bfloat16). The norm takes the bias away again: its gradient is zero then, and
/// is not computed. `unread`: nobody reads the result's values, only its history; where backward is recorded
/// nothing is computed then, and x stands for the result. Throws std::invalid_argument if shapes, devices or
/// params do not fit.
Tensor conv3d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv3dParams& params,
              ChannelStatistics* statistics = nullptr, bool unread = false);

/// conv3d() of x, bfloat16, whose last channels are those of a norm that is not stored (UnstoredNorm), and is
/// applied where x is read. `unread` as there.
Tensor conv3d_of_unstored(const Tensor& x, const NormOperands& norm, const Tensor& weight, const Tensor& bias,
                          const Conv3dParams& params, ChannelStatistics& statistics, bool unread = false);

/// Uninitialised memory for the result of conv3d(), after its checks; `function` is named in errors.
Tensor conv3d_output(const char* function, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const Conv3dParams& params);

/// Parameters "weight" and, if asked for, "bias"; zero until an initialiser fills them.
class Conv3d : public Module {
 public:
  explicit Conv3d(const Conv3dParams& params, bool with_bias = true, Device device = Device::cpu);
  Tensor operator()(const Tensor& x, ChannelStatistics* statistics = nullptr, bool unread = false) const {
    return conv3d(x, weight_, bias(), params_, statistics, unread);
  }

  [[nodiscard]] const Conv3dParams& params() const { return params_; }
  [[nodiscard]] Tensor& weight() const { return weight_; }
  /// Undefined if there is none.
  [[nodiscard]] Tensor bias() const { return bias_ != nullptr ? *bias_ : Tensor(); }

 private:
  Conv3dParams params_;
  Tensor& weight_;
  Tensor* bias_;
};

}  // namespace vg
