#include "engine/rng.h"

#include "kernels/random/random.h"

namespace vg {

void Rng::uniform(const Tensor& tensor, float low, float high) {
  kernels::random_uniform(tensor.view(), low, high, seed_, next_offset(),
                          Context::get().exec(tensor.device()));
}

void Rng::normal(const Tensor& tensor, float mean, float deviation) {
  kernels::random_normal(tensor.view(), mean, deviation, seed_, next_offset(),
                         Context::get().exec(tensor.device()));
}

}  // namespace vg
