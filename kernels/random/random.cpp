#include "kernels/random/random.h"

#include "kernels/random/random_impl.h"

namespace vg::kernels {

void random_uniform(View<float> y, float low, float high, uint64_t seed, uint64_t offset, const Exec& exec) {
  require(low <= high, "random_uniform: low is ", low, ", expected at most high, which is ", high);
  VG_DISPATCH(exec, random_uniform, y, low, high, seed, offset, exec);
}

void random_normal(View<float> y, float mean, float deviation, uint64_t seed, uint64_t offset,
                   const Exec& exec) {
  require(deviation >= 0, "random_normal: the standard deviation is ", deviation, ", expected at least 0");
  VG_DISPATCH(exec, random_normal, y, mean, deviation, seed, offset, exec);
}

}  // namespace vg::kernels
