// Statistics of an activation that one op computes and another uses.
#pragma once

#include "engine/tensor.h"
#include "kernels/norm3d/norm3d.h"

namespace vg {

/// Mean and biased variance of an activation's channels, [C] or per instance [N * C]; undefined if nobody has
/// computed them.
struct ChannelStatistics {
  Tensor mean = {}, variance = {};
  bool per_instance = false;

  /// Memory for those of `x`, uninitialised.
  static ChannelStatistics empty_for(const Tensor& x, bool per_instance) {
    const Shape shape = {(per_instance ? x.size(0) : 1) * x.size(4)};
    return {Tensor::empty(shape, DType::float32, x.device()),
            Tensor::empty(shape, DType::float32, x.device()), per_instance};
  }
  [[nodiscard]] kernels::OutputStatistics pointers() const {
    return {mean.data<float>(), variance.data<float>(), per_instance};
  }
};

}  // namespace vg
