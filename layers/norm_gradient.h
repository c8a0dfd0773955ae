// The second half of a norm's backward, left to the op before the norm, whose kernels may do it as they read
// the gradient of its output.
#pragma once

#include <optional>

#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_gated.h"
#include "layers/norm3d.h"

namespace vg {

/// What makes the gradient of a norm's input of that of its result: kernels::NormInputGradient.
struct UnfinishedGradient {
  Tensor x;  ///< the norm's input
  NormOperands norm;
  Tensor means;  ///< see norm3d_add_gradients()
  /// If defined: the norm's result goes through a convolution with kernel 1 alone; the gradient of that one's
  /// output, and its weights. A gradient is no more than memory for that of x then.
  Tensor narrow = {}, weight = {};
};

/// The kernels' arguments; not of a narrow gradient.
kernels::NormInputGradient norm_input_gradient(const Tensor& gradient, const UnfinishedGradient& rest);

/// An op on the tape whose output a norm reads, and nobody else, so that the op may be given the gradient of
/// the norm's result instead of that of its own.
class NormInputNode : public Node {
 public:
  [[nodiscard]] virtual bool takes_unfinished() const = 0;
  /// `gradient` is what the op is passed; it is unfinished.
  void offer(const Tensor& gradient, UnfinishedGradient rest) {
    offered_ = gradient;
    rest_ = std::move(rest);
  }

 protected:
  /// What was offered, if anything. Throws std::logic_error if it is not all of the gradient: somebody beside
  /// the norm has read the output.
  [[nodiscard]] std::optional<UnfinishedGradient> take_unfinished(const Tensor& gradient);
  /// Adds to the gradient of a convolution's weights (null: not wanted) and returns the finished gradient of
  /// its output; undefined unless `read`. `x` and its norm (or null) as kernels::conv3d_backward_weight()
  /// takes them.
  static Tensor backward_weight(float* dweight, const Tensor& gradient, const UnfinishedGradient& rest,
                                const Tensor& x, const kernels::InputNorm* norm,
                                const kernels::Conv3dParams& params, bool read);
  static Tensor backward_weight(float* dweight, const Tensor& gradient, const UnfinishedGradient& rest,
                                const kernels::GatedInput& x, const kernels::Conv3dParams& params, bool read);
  /// Both gradients of a narrow one, `dx` that of all channels of x.
  static void backward_both(const Tensor& dx, float* dweight, const Tensor& gradient,
                            const UnfinishedGradient& rest, const kernels::GatedInput& x,
                            const Tensor& weight, const kernels::Conv3dParams& params);
  /// The same and the gradient of the convolution's input, see kernels::conv3d_backward(); not of a narrow
  /// gradient.
  static void backward_both(const kernels::InputGradient& of_x, float* dweight, const Tensor& gradient,
                            const UnfinishedGradient& rest, const Tensor& x, const kernels::InputNorm* norm,
                            const Tensor& weight, const kernels::Conv3dParams& params);

 private:
  Tensor offered_;
  UnfinishedGradient rest_;
};

/// What a norm passes to its input, which `origin` has made (see Node::origin()), given the gradient of its
/// result and all that is left to do: the latter is left to `origin` if that takes it, else done, in place if
/// nobody else reads the gradient.
Tensor pass_unfinished(const Tensor& gradient, UnfinishedGradient rest, Node* origin);

}  // namespace vg
