// The affine map is one fused multiply-add on every device and instruction set, so that all give the same
// bits.
#include "kernels/common/draws.h"
#include "kernels/random/random_impl.h"

namespace vg::kernels::cpu::VG_ISA {

void random_uniform(View<float> y, float low, float high, uint64_t seed, uint64_t offset, const Exec&) {
  const float range = high - low;
  map_draws(
      UniformDraw{seed, offset}, [=](float u) { return __builtin_fmaf(range, u, low); }, y);
}

void random_normal(View<float> y, float mean, float deviation, uint64_t seed, uint64_t offset, const Exec&) {
  map_draws(
      NormalDraw{seed, offset}, [=](float z) { return __builtin_fmaf(deviation, z, mean); }, y);
}

}  // namespace vg::kernels::cpu::VG_ISA
