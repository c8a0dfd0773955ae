// Pointwise activations. Each takes its argument by value: a tensor moved in (the result of another op) is
// worked on in place where backward allows it.
#pragma once

#include "kernels/activation/activation.h"
#include "layers/module.h"

namespace vg {

using kernels::ActivationKind;
using kernels::ActivationParams;

Tensor relu(Tensor x);
Tensor leaky_relu(Tensor x, float negative_slope = 0.01f);
/// slope: [1], or [C] with one per channel.
Tensor prelu(Tensor x, const Tensor& slope);
Tensor sigmoid(Tensor x);

/// PyTorch's PReLU: parameter "weight" [count], 0.25 at first.
class PReLU : public Module {
 public:
  explicit PReLU(int64_t count = 1, Device device = Device::cpu);
  Tensor operator()(Tensor x) const { return prelu(std::move(x), weight_); }
  [[nodiscard]] Tensor& weight() const { return weight_; }

 private:
  Tensor& weight_;
};

}  // namespace vg
