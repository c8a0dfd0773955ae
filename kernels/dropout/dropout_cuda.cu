#include "kernels/common/draws.cuh"
#include "kernels/dropout/dropout_impl.h"

namespace vg::kernels::cuda {

template <class T>
void dropout(View<T> y, View<const T> x, const DropoutParams& params, const Exec& exec) {
  const KeepOrDrop f{params.probability, 1 / (1 - params.probability)};
  map_draws(exec, UniformDraw{params.seed, params.offset}, f, y, x);
}

template void dropout(View<float>, View<const float>, const DropoutParams&, const Exec&);
template void dropout(View<bfloat16>, View<const bfloat16>, const DropoutParams&, const Exec&);

}  // namespace vg::kernels::cuda
