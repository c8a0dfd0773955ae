// The discrete Fourier transform by its definition, in double: the oracle of what happens in k-space.
#pragma once

#include <array>
#include <complex>
#include <cstdint>
#include <numbers>
#include <vector>

namespace vg::test {

using Complexes = std::vector<std::complex<double>>;
using Extents3 = std::array<int64_t, 3>;

/// Calls body(index of the element, its place) for all elements of [D][H][W].
template <class Body>
void for_each_place(const Extents3& extent, const Body& body) {
  size_t i = 0;
  for (int64_t d = 0; d < extent[0]; ++d) {
    for (int64_t h = 0; h < extent[1]; ++h) {
      for (int64_t w = 0; w < extent[2]; ++w) body(i++, Extents3{d, h, w});
    }
  }
}

/// One sum over all elements for each result. sign -1: x to its spectrum, with frequency 0 at extent / 2 of
/// each axis; sign 1: such a spectrum back to x.
inline Complexes fourier_transform(const Complexes& x, const Extents3& extent, int sign) {
  Complexes result(x.size());
  for_each_place(extent, [&](size_t i, const Extents3& to) {
    for_each_place(extent, [&](size_t j, const Extents3& from) {
      double turns = 0;
      for (size_t axis = 0; axis < 3; ++axis) {
        const int64_t k = (sign < 0 ? to : from)[axis] - extent[axis] / 2,
                      place = (sign < 0 ? from : to)[axis];
        turns += static_cast<double>(k * place) / static_cast<double>(extent[axis]);
      }
      result[i] += x[j] * std::polar(1.0, sign * 2 * std::numbers::pi * turns);
    });
    if (sign > 0) result[i] /= static_cast<double>(x.size());
  });
  return result;
}

inline Complexes spectrum_of(const std::vector<float>& x, const Extents3& extent) {
  return fourier_transform(Complexes(x.begin(), x.end()), extent, -1);
}

inline std::vector<double> real_volume_of(const Complexes& spectrum, const Extents3& extent) {
  std::vector<double> real;
  for (const auto& value : fourier_transform(spectrum, extent, 1)) real.push_back(value.real());
  return real;
}

}  // namespace vg::test
