#include "kernels/sgd/sgd.h"

#include "kernels/common/store.h"
#include "kernels/common/workspace.h"
#include "kernels/sgd/sgd_impl.h"

namespace vg::kernels {

namespace {

void check(const SgdParams& p) {
  require(p.learning_rate >= 0, "sgd_step: the learning rate is ", p.learning_rate, ", expected >= 0");
  require(p.momentum >= 0, "sgd_step: momentum is ", p.momentum, ", expected >= 0");
  require(p.weight_decay >= 0, "sgd_step: the weight decay is ", p.weight_decay, ", expected >= 0");
  require(!p.nesterov || p.momentum > 0, "sgd_step: Nesterov momentum with momentum 0, expected > 0");
}

void check(std::span<const SgdTensor> tensors, bool with_momentum) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const SgdTensor& t = tensors[i];
    require(t.count >= 0, "sgd_step: tensor ", i, " has ", t.count, " elements, expected >= 0");
    require(t.count == 0 || (t.parameter && t.gradient && (!with_momentum || t.momentum_buffer)),
            "sgd_step: tensor ", i, " has a null pointer, expected parameter, gradient and, with momentum, ",
            "its buffer");
  }
}

}  // namespace

SgdFactors sgd_factors(const SgdParams& p) {
  check(p);
  return {static_cast<float>(p.learning_rate), static_cast<float>(p.momentum),
          static_cast<float>(p.weight_decay), p.nesterov, p.first_step};
}

void sgd_step(std::span<const SgdTensor> tensors, const float* gradient_scale, const SgdFactors* factors,
              bool with_momentum, const Exec& exec) {
  check(tensors, with_momentum);
  require(factors != nullptr, "sgd_step: the pointer to the factors is null");
  VG_DISPATCH(exec, sgd_step, tensors.data(), static_cast<int64_t>(tensors.size()), gradient_scale, factors,
              exec);
}

void sgd_step(std::span<const SgdTensor> tensors, const float* gradient_scale, const SgdParams& params,
              const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  SgdFactors* const factors = scope.allocate<SgdFactors>(1);
  store(factors, sgd_factors(params), exec);
  sgd_step(tensors, gradient_scale, factors, params.momentum != 0, exec);
}

}  // namespace vg::kernels
