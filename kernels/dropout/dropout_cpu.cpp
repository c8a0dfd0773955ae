#include "kernels/common/draws.h"
#include "kernels/dropout/dropout_impl.h"

namespace vg::kernels::cpu::VG_ISA {

void dropout(View<float> y, View<const float> x, const DropoutParams& params, const Exec&) {
  const KeepOrDrop f{params.probability, 1 / (1 - params.probability)};
  map_draws(UniformDraw{params.seed, params.offset}, f, y, x);
}

}  // namespace vg::kernels::cpu::VG_ISA
