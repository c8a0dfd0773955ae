#include "kernels/dropout/dropout.h"

#include "kernels/common/check_shape.h"
#include "kernels/dropout/dropout_impl.h"

namespace vg::kernels {

void dropout(View<float> y, View<const float> x, const DropoutParams& params, const Exec& exec) {
  require_same_shape("dropout", y, x);
  require(params.probability >= 0 && params.probability < 1, "dropout: the probability is ",
          params.probability, ", expected at least 0 and less than 1");
  VG_DISPATCH(exec, dropout, y, x, params, exec);
}

void dropout(View<bfloat16> y, View<const bfloat16> x, const DropoutParams& params, const Exec& exec) {
  require_same_shape("dropout", y, x);
  require(params.probability >= 0 && params.probability < 1, "dropout: the probability is ",
          params.probability, ", expected at least 0 and less than 1");
  VG_DISPATCH_CUDA(exec, dropout, y, x, params, exec);
}

}  // namespace vg::kernels
