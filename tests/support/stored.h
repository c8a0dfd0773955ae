// Values as activations hold them, float or bfloat16, for tests written once for both.
#pragma once

#include <type_traits>
#include <vector>

#include "kernels/common/bfloat16.h"

namespace vg::test {

/// Rounded to T.
template <class T>
std::vector<T> stored(const std::vector<float>& values) {
  std::vector<T> result;
  for (const float v : values) result.push_back(kernels::from_float<T>(v));
  return result;
}

template <class T>
std::vector<float> to_floats(const std::vector<T>& values) {
  std::vector<float> result;
  for (const T v : values) result.push_back(kernels::to_float(v));
  return result;
}

/// What is left of float values that go through T.
template <class T>
std::vector<float> rounded(const std::vector<float>& values) {
  return to_floats(stored<T>(values));
}

/// Relative error of a float result rounded to T once more: half a unit of 8 bits, or none.
template <class T>
inline constexpr double storage_error = std::is_same_v<T, kernels::bfloat16> ? 0x1p-8 : 0;

}  // namespace vg::test
