// Operands of an opponent on the GPU: one piece of memory each, for every set.
#pragma once

#include <vector>

#include "bench/opponents/conv_opponent.h"
#include "engine/context.h"
#include "engine/tensor.h"
#include "kernels/common/bfloat16.h"
#include "kernels/common/memory.h"

namespace vg::bench {

/// `values` as an array of `type` on the GPU.
inline Tensor device_array(const float* values, int64_t count, DType type) {
  const std::vector<float> plain(values, values + count);
  return Tensor::from_values({count}, plain, Device::cuda).to(type);
}

/// Back on the host as float.
inline std::vector<float> host_values(const Tensor& array) {
  return array.to(DType::float32).values();
}

inline void* address(const Tensor& array) {
  if (array.dtype() == DType::bfloat16) return array.data<bfloat16>();
  return array.data<float>();
}

/// Memory that a library works in; at least one byte.
inline Tensor device_bytes(size_t bytes) {
  return Tensor::empty({static_cast<int64_t>(std::max<size_t>(bytes, 1))}, DType::uint8, Device::cuda);
}

/// Large volume, small volume and weights; what the pass overwrites starts with values too.
struct DeviceOperands {
  Tensor large, small, weights;
};

}  // namespace vg::bench
