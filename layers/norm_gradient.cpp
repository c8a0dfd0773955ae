#include "layers/norm_gradient.h"

#include <stdexcept>

#include "kernels/conv3d/conv3d_narrow_gradient.h"
#include "layers/op_support.h"

namespace vg {

namespace {

kernels::NarrowGradient narrow_gradient(const UnfinishedGradient& rest) {
  return {rest.narrow.view<const bfloat16>(), rest.weight.data<const float>(), rest.x.view<const bfloat16>(),
          input_norm(rest.norm), rest.means.data<const float>()};
}

/// Calls body() with what the kernels make the gradient from.
template <class Body>
void with_source(const Tensor& gradient, const UnfinishedGradient& rest, const Body& body) {
  if (rest.narrow.defined()) {
    body(narrow_gradient(rest));
  } else {
    body(norm_input_gradient(gradient, rest));
  }
}

void make(const View<bfloat16>& dx, const kernels::NarrowGradient& source, const kernels::Exec& exec) {
  kernels::conv3d_make_gradient(dx, source, exec);
}
void make(const View<bfloat16>& dx, const kernels::NormInputGradient& s, const kernels::Exec& exec) {
  kernels::norm3d_backward_input(dx, s.dy, s.x, s.norm, s.means, exec);
}

void finish(const Tensor& into, const Tensor& gradient, const UnfinishedGradient& rest) {
  with_source(gradient, rest,
              [&](const auto& source) { make(into.view<bfloat16>(), source, exec_of(gradient)); });
}

}  // namespace

kernels::NormInputGradient norm_input_gradient(const Tensor& gradient, const UnfinishedGradient& rest) {
  return {gradient.view<const bfloat16>(), rest.x.view<const bfloat16>(), input_norm(rest.norm),
          rest.means.data<const float>()};
}

std::optional<UnfinishedGradient> NormInputNode::take_unfinished(const Tensor& gradient) {
  if (!offered_.defined()) return std::nullopt;
  if (std::exchange(offered_, Tensor()).data<bfloat16>() != gradient.data<bfloat16>())
    throw std::logic_error(std::string(name()) + ": its output is read by more than the norm behind it");
  return std::move(rest_);
}

namespace {

/// `compute(made, source)` calls the kernel.
template <class Compute>
Tensor finish_with_weight(float* dweight, const Tensor& gradient, const UnfinishedGradient& rest,
                          const kernels::Conv3dParams& params, bool read, const Compute& compute) {
  if (dweight == nullptr && !read) return {};
  // More input channels: several blocks read a gradient that is made as it is read.
  const Tensor dy = !read ? Tensor()
                    : dweight == nullptr || rest.narrow.defined() || params.in_channels <= 16
                        ? reuse_or_allocate(gradient)
                        : Tensor::empty_like(gradient);
  if (dweight == nullptr) {
    finish(dy, gradient, rest);
  } else {
    const View<bfloat16> made = read ? dy.view<bfloat16>() : View<bfloat16>();
    with_source(gradient, rest, [&](const auto& source) { compute(made, source); });
  }
  return dy;
}

/// For the gradient of a convolution's output where it is made in a pass of its own.
View<bfloat16> room_for(const Tensor& gradient) {
  return gradient.storage_use_count() == 1 ? gradient.view<bfloat16>() : View<bfloat16>();
}

}  // namespace

Tensor NormInputNode::backward_weight(float* dweight, const Tensor& gradient, const UnfinishedGradient& rest,
                                      const Tensor& x, const kernels::InputNorm* norm,
                                      const kernels::Conv3dParams& params, bool read) {
  return finish_with_weight(dweight, gradient, rest, params, read, [&](const auto& made, const auto& source) {
    kernels::conv3d_backward_weight(dweight, made, source, x.view<const bfloat16>(), norm, params,
                                    exec_of(gradient));
  });
}

Tensor NormInputNode::backward_weight(float* dweight, const Tensor& gradient, const UnfinishedGradient& rest,
                                      const kernels::GatedInput& x, const kernels::Conv3dParams& params,
                                      bool read) {
  return finish_with_weight(dweight, gradient, rest, params, read, [&](const auto& made, const auto& source) {
    kernels::conv3d_backward_weight(dweight, made, source, x, params, exec_of(gradient));
  });
}

void NormInputNode::backward_both(const Tensor& dx, float* dweight, const Tensor& gradient,
                                  const UnfinishedGradient& rest, const kernels::GatedInput& x,
                                  const Tensor& weight, const kernels::Conv3dParams& params) {
  kernels::conv3d_backward(dx.view<bfloat16>(), dweight, room_for(gradient), narrow_gradient(rest), x,
                           weight.data<const float>(), params, exec_of(gradient));
}

void NormInputNode::backward_both(const kernels::InputGradient& of_x, float* dweight, const Tensor& gradient,
                                  const UnfinishedGradient& rest, const Tensor& x,
                                  const kernels::InputNorm* norm, const Tensor& weight,
                                  const kernels::Conv3dParams& params) {
  const View<bfloat16> dy = room_for(gradient);
  const auto both = [&](const auto& to, const auto& source) {
    kernels::conv3d_backward(to, dweight, dy, source, x.view<const bfloat16>(), norm,
                             weight.data<const float>(), params, exec_of(gradient));
  };
  if (rest.narrow.defined()) {
    both(of_x.dx, narrow_gradient(rest));
  } else {
    both(of_x, norm_input_gradient(gradient, rest));
  }
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
