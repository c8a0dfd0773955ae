// Small values from the host to device memory without a wait.
#pragma once

#include <type_traits>

#include "kernels/common/exec.h"

namespace vg::kernels {

/// Bytes that store_bytes() takes: they travel as parameters of a kernel.
inline constexpr size_t largest_stored_value = 256;

/// Writes `bytes` of host memory to memory of exec's device, in the order of its stream. The host may reuse
/// `value` at once and does not wait. Throws std::invalid_argument for more than largest_stored_value.
void store_bytes(void* destination, const void* value, size_t bytes, const Exec& exec);

template <class T>
void store(T* destination, const T& value, const Exec& exec) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= largest_stored_value);
  store_bytes(destination, &value, sizeof(T), exec);
}

}  // namespace vg::kernels
