#include "kernels/sgd/sgd.h"

#include "kernels/sgd/sgd_impl.h"

namespace vg::kernels {

namespace {

void check(std::span<const SgdTensor> tensors, const SgdParams& p) {
  require(p.learning_rate >= 0, "sgd_step: the learning rate is ", p.learning_rate, ", expected >= 0");
  require(p.momentum >= 0, "sgd_step: momentum is ", p.momentum, ", expected >= 0");
  require(p.weight_decay >= 0, "sgd_step: the weight decay is ", p.weight_decay, ", expected >= 0");
  require(!p.nesterov || p.momentum > 0, "sgd_step: Nesterov momentum with momentum 0, expected > 0");
  for (size_t i = 0; i < tensors.size(); ++i) {
    const SgdTensor& t = tensors[i];
    require(t.count >= 0, "sgd_step: tensor ", i, " has ", t.count, " elements, expected >= 0");
    require(t.count == 0 || (t.parameter && t.gradient && (p.momentum == 0 || t.momentum_buffer)),
            "sgd_step: tensor ", i, " has a null pointer, expected parameter, gradient and, with momentum, ",
            "its buffer");
  }
}

}  // namespace

void sgd_step(std::span<const SgdTensor> tensors, const float* gradient_scale, const SgdParams& params,
              const Exec& exec) {
  check(tensors, params);
  const SgdFactors factors{static_cast<float>(params.learning_rate), static_cast<float>(params.momentum),
                           static_cast<float>(params.weight_decay), params.nesterov, params.first_step};
  VG_DISPATCH(exec, sgd_step, tensors.data(), static_cast<int64_t>(tensors.size()), gradient_scale, factors,
              exec);
}

}  // namespace vg::kernels
