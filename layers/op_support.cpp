#include "layers/op_support.h"

#include <algorithm>

namespace vg {

using kernels::require;

void require_activation(const char* function, const char* argument, const Tensor& tensor) {
  require(tensor.defined(), function, ": ", argument, " is undefined");
  require(tensor.is_activation() && (tensor.dtype() == DType::float32 || tensor.dtype() == DType::bfloat16),
          function, ": ", argument, " is ", dtype_name(tensor.dtype()), " ", to_string(tensor.shape()),
          ", expected a float32 or bfloat16 activation [N, D, H, W, C]");
}

void require_parameter(const char* function, const char* argument, const Tensor& tensor, const Shape& shape,
                       const Tensor& other) {
  require(tensor.defined(), function, ": ", argument, " is undefined");
  require(tensor.shape() == shape && tensor.dtype() == DType::float32, function, ": ", argument, " is ",
          dtype_name(tensor.dtype()), " ", to_string(tensor.shape()), ", expected float32 ",
          to_string(shape));
  require_same_device(function, other, tensor);
}

void require_slope(const char* function, const Tensor& slope, const Tensor& x) {
  require_activation(function, "x", x);
  const Shape one = {1}, per_channel = {x.size(4)};
  require_parameter(function, "slope", slope, slope.shape() == one ? one : per_channel, x);
}

void require_labels(const char* function, const Tensor& labels, const Tensor& logits) {
  require(labels.defined(), function, ": labels are undefined");
  require(labels.is_activation() && labels.dtype() == DType::uint8 && same_voxels(labels, logits), function,
          ": labels are ", dtype_name(labels.dtype()), " ", to_string(labels.shape()),
          ", expected a uint8 activation for logits ", to_string(logits.shape()));
  require_same_device(function, logits, labels);
}

void require_same_device(const char* function, const Tensor& a, const Tensor& b) {
  require(a.device() == b.device(), function, ": arguments on ", device_name(a.device()), " and ",
          device_name(b.device()));
}

void require_alike(const char* function, const Tensor& a, const Tensor& b) {
  require_same_device(function, a, b);
  require(a.dtype() == b.dtype(), function, ": arguments are ", dtype_name(a.dtype()), " and ",
          dtype_name(b.dtype()), ", expected one type");
}

bool same_voxels(const Tensor& a, const Tensor& b) {
  return a.is_activation() && b.is_activation() &&
         std::equal(a.shape().begin(), a.shape().begin() + 4, b.shape().begin());
}

}  // namespace vg
