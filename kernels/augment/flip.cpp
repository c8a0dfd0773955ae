#include "kernels/augment/flip.h"

#include "kernels/augment/flip_impl.h"

namespace vg::kernels {

void flip(View<float> y, View<const float> x, const std::array<bool, 3>& axes, const Exec& exec) {
  check_volumes<float>("flip", y, x);
  VG_DISPATCH(exec, flip, y, x, axes[0], axes[1], axes[2], exec);
}

void flip(View<uint8_t> y, View<const uint8_t> x, const std::array<bool, 3>& axes, const Exec& exec) {
  check_volumes<uint8_t>("flip", y, x);
  VG_DISPATCH(exec, flip, y, x, axes[0], axes[1], axes[2], exec);
}

}  // namespace vg::kernels
