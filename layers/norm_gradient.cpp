#include "layers/norm_gradient.h"

#include <stdexcept>

#include "layers/op_support.h"

namespace vg {

namespace {

void finish(const Tensor& into, const Tensor& gradient, const UnfinishedGradient& rest) {
  const kernels::NormInputGradient of = rest.of(gradient);
  kernels::norm3d_backward_input(into.view<bfloat16>(), of.dy, of.x, of.norm, of.means, exec_of(gradient));
}

}  // namespace

std::optional<UnfinishedGradient> NormInputNode::take_unfinished(const Tensor& gradient) {
  if (!offered_.defined()) return std::nullopt;
  if (std::exchange(offered_, Tensor()).data<bfloat16>() != gradient.data<bfloat16>())
    throw std::logic_error(std::string(name()) + ": its output is read by more than the norm behind it");
  return std::move(rest_);
}

Tensor NormInputNode::backward_weight(float* dweight, const Tensor& gradient, const UnfinishedGradient& rest,
                                      const Tensor& x, const kernels::InputNorm* norm,
                                      const kernels::Conv3dParams& params, bool read) {
  if (dweight == nullptr && !read) return {};
  // More input channels: several blocks read a gradient that is made as it is read.
  const Tensor dy = !read                                            ? Tensor()
                    : dweight == nullptr || params.in_channels <= 16 ? reuse_or_allocate(gradient)
                                                                     : Tensor::empty_like(gradient);
  if (dweight == nullptr) {
    finish(dy, gradient, rest);
  } else {
    kernels::conv3d_backward_weight(dweight, read ? dy.view<bfloat16>() : View<bfloat16>(), rest.of(gradient),
                                    x.view<const bfloat16>(), norm, params, exec_of(gradient));
  }
  return dy;
}

Tensor pass_unfinished(const Tensor& gradient, UnfinishedGradient rest, Node* origin) {
  auto* const before = dynamic_cast<NormInputNode*>(origin);
  if (before != nullptr && before->takes_unfinished()) {
    before->offer(gradient, std::move(rest));
    return gradient;
  }
  const Tensor dx = reuse_or_allocate(gradient);
  finish(dx, gradient, rest);
  return dx;
}

}  // namespace vg
