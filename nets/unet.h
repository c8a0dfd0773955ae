// The plain 3D U-Net (Cicek et al. 2016, arxiv.org/abs/1606.06650) as MONAI 1.4's UNet builds it with
// num_res_units 0, batch norm and PReLU: the Attention U-Net's point of comparison.
#pragma once

#include "nets/blocks.h"
#include "nets/network.h"

namespace vg {

/// One level with all that lies below it: y = up(concat(d, below(d))), d = down(x) at half of x's extents.
/// Names: "0.*" down, "1.submodule.*" below, "2.*" up.
class UNetLevel : public Module {
 public:
  UNetLevel(const Architecture& architecture, size_t level, Device device, Rng& rng);
  Tensor operator()(const Tensor& x) const;
  void set_recompute(bool recompute);

 private:
  Convolution& down_;
  // One of the two: the next level, or the convolution at the bottom.
  UNetLevel* below_ = nullptr;
  Convolution* bottom_ = nullptr;
  Convolution* up_ = nullptr;
  bool recompute_ = false;
};

/// Names as in MONAI: "model.0.*", "model.1.submodule.*", "model.2.conv.*".
class UNet : public Network {
 public:
  UNet(const Architecture& architecture, Device device, Rng& rng);
  void set_recompute(bool recompute) override { model_.set_recompute(recompute); }

 private:
  [[nodiscard]] Tensor forward(const Tensor& x) const override { return model_(x); }

  UNetLevel& model_;
};

}  // namespace vg
