#include "engine/rng.h"

#include "engine/recompute.h"
#include "kernels/random/random.h"

namespace vg {

uint64_t Rng::next_offset() {
  Recomputation* const function = Context::get().recomputation();
  return function == nullptr ? draws_++ : function->draw(draws_);
}

void Rng::uniform(const Tensor& tensor, float low, float high) {
  kernels::random_uniform(tensor.view(), low, high, seed_, next_offset(),
                          Context::get().exec(tensor.device()));
}

void Rng::normal(const Tensor& tensor, float mean, float deviation) {
  kernels::random_normal(tensor.view(), mean, deviation, seed_, next_offset(),
                         Context::get().exec(tensor.device()));
}

}  // namespace vg
