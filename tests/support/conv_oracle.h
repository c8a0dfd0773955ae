// Convolution and transposed convolution in double, by enumeration of every product: the oracle of their
// kernels and layers. Dense [N,D,H,W,C] activations, weights in PyTorch's order.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv3d/conv3d.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"

namespace vg::test {

/// What y(x, w) = sum of products needs: the function is linear in x and in w, so that the same products give
/// all gradients. Both kinds of convolution are of this form.
class ConvOracle {
 public:
  /// A convolution of an input [n, d, h, w, in_channels].
  ConvOracle(const kernels::Conv3dParams& params, int64_t n, int64_t d, int64_t h, int64_t w);
  /// A transposed convolution of an input [n, d, h, w, in_channels].
  ConvOracle(const kernels::ConvTranspose3dParams& params, int64_t n, int64_t d, int64_t h, int64_t w);

  struct Extents {
    int64_t n, d, h, w, c;
    int64_t count() const { return n * d * h * w * c; }
  };
  const Extents& x() const { return x_; }
  const Extents& y() const { return y_; }
  int64_t weights() const { return x_.c * y_.c * kernel_ * kernel_ * kernel_; }
  /// Products in one element of y, dx and dweight: what their tolerances depend on.
  int64_t forward_length() const { return x_.c * kernel_ * kernel_ * kernel_; }
  int64_t backward_input_length() const { return y_.c * kernel_ * kernel_ * kernel_; }
  int64_t backward_weight_length() const {
    return (transposed_ ? x_ : y_).count() / (transposed_ ? x_ : y_).c;
  }

  /// bias may be empty.
  template <class T>
  std::vector<double> forward(const std::vector<T>& x, const std::vector<T>& weight,
                              const std::vector<T>& bias) const;
  template <class T>
  std::vector<double> backward_input(const std::vector<T>& dy, const std::vector<T>& weight) const;
  template <class T>
  std::vector<double> backward_weight(const std::vector<T>& dy, const std::vector<T>& x) const;
  template <class T>
  std::vector<double> backward_bias(const std::vector<T>& dy) const;

 private:
  // Calls body(x offset, y offset, weight offset, channels of x, channels of y) for each tap of each voxel;
  // weight_x and weight_y are the distances of neighbouring channels in the weights.
  template <class Body>
  void for_each_product(const Body& body) const;

  Extents x_, y_;
  int64_t kernel_, stride_, padding_;
  bool transposed_;
};

}  // namespace vg::test
