#include "kernels/common/draws.cuh"
#include "kernels/dropout/dropout_impl.h"

namespace vg::kernels::cuda {

void dropout(View<float> y, View<const float> x, const DropoutParams& params, const Exec& exec) {
  const KeepOrDrop f{params.probability, 1 / (1 - params.probability)};
  map_draws(exec, UniformDraw{params.seed, params.offset}, f, y, x);
}

}  // namespace vg::kernels::cuda
