// What the ops of this folder share: checks of their arguments and where their results lie.
#pragma once

#include <initializer_list>

#include "engine/autograd.h"
#include "engine/tensor.h"
#include "kernels/common/check.h"

namespace vg {

inline kernels::Exec exec_of(const Tensor& tensor) {
  return Context::get().exec(tensor.device());
}

/// The first element, or null for an undefined tensor (no bias, no affine map).
inline const float* data_or_null(const Tensor& tensor) {
  return tensor.defined() ? tensor.data<const float>() : nullptr;
}

/// Memory for a result with the shape of `tensor`: that of `tensor` itself if this is the only handle on it
/// (a gradient that has no other reader, an argument that was moved in), else new.
inline Tensor reuse_or_allocate(const Tensor& tensor) {
  return tensor.storage_use_count() == 1 ? tensor.detach() : Tensor::empty_like(tensor);
}

/// Throws std::invalid_argument, naming function and argument, unless `tensor` is a float32 or bfloat16
/// activation.
void require_activation(const char* function, const char* argument, const Tensor& tensor);
/// ... unless `tensor` is float32 of the given shape and on the device of `other`.
void require_parameter(const char* function, const char* argument, const Tensor& tensor, const Shape& shape,
                       const Tensor& other);
/// ... unless `slope` is float32 [1] or [channels of x] and on the device of x.
void require_slope(const char* function, const Tensor& slope, const Tensor& x);
/// ... unless `labels` is a uint8 activation on the device of `logits` with the same voxels.
void require_labels(const char* function, const Tensor& labels, const Tensor& logits);
/// ... unless both lie on one device.
void require_same_device(const char* function, const Tensor& a, const Tensor& b);

/// ... and have one type of elements.
void require_alike(const char* function, const Tensor& a, const Tensor& b);

/// True if two activations agree in N, D, H and W.
bool same_voxels(const Tensor& a, const Tensor& b);

}  // namespace vg
