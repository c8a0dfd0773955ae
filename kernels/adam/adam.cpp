#include "kernels/adam/adam.h"

#include "kernels/adam/adam_impl.h"
#include "kernels/common/store.h"
#include "kernels/common/workspace.h"

namespace vg::kernels {

namespace {

void check(const AdamParams& p) {
  require(p.step >= 1, "adam_step: step is ", p.step, ", expected at least 1");
  require(p.beta1 >= 0 && p.beta1 < 1, "adam_step: beta1 is ", p.beta1, ", expected [0, 1)");
  require(p.beta2 >= 0 && p.beta2 < 1, "adam_step: beta2 is ", p.beta2, ", expected [0, 1)");
  require(p.learning_rate >= 0, "adam_step: the learning rate is ", p.learning_rate, ", expected >= 0");
  require(p.eps >= 0, "adam_step: eps is ", p.eps, ", expected >= 0");
  require(p.weight_decay >= 0, "adam_step: the weight decay is ", p.weight_decay, ", expected >= 0");
}

void check(std::span<const AdamTensor> tensors) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const AdamTensor& t = tensors[i];
    require(t.count >= 0, "adam_step: tensor ", i, " has ", t.count, " elements, expected >= 0");
    require(t.count == 0 || (t.parameter && t.gradient && t.first_moment && t.second_moment),
            "adam_step: tensor ", i, " has a null pointer, expected parameter, gradient and both moments");
  }
}

}  // namespace

AdamFactors adam_factors(const AdamParams& p) {
  check(p);
  const double step = static_cast<double>(p.step);
  AdamFactors f{};
  f.beta1 = static_cast<float>(p.beta1);
  f.one_minus_beta1 = static_cast<float>(1 - p.beta1);
  f.beta2 = static_cast<float>(p.beta2);
  f.one_minus_beta2 = static_cast<float>(1 - p.beta2);
  f.step_size = static_cast<float>(p.learning_rate / (1 - std::pow(p.beta1, step)));
  f.bias_correction2 = static_cast<float>(std::sqrt(1 - std::pow(p.beta2, step)));
  f.eps = static_cast<float>(p.eps);
  f.l2 = p.decoupled_weight_decay ? 0.0f : static_cast<float>(p.weight_decay);
  f.decay = p.decoupled_weight_decay ? static_cast<float>(1 - p.learning_rate * p.weight_decay) : 1.0f;
  return f;
}

void adam_step(std::span<const AdamTensor> tensors, const float* gradient_scale, const AdamFactors* factors,
               const Exec& exec) {
  check(tensors);
  require(factors != nullptr, "adam_step: the pointer to the factors is null");
  VG_DISPATCH(exec, adam_step, tensors.data(), static_cast<int64_t>(tensors.size()), gradient_scale, factors,
              exec);
}

void adam_step(std::span<const AdamTensor> tensors, const float* gradient_scale, const AdamParams& params,
               const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  AdamFactors* const factors = scope.allocate<AdamFactors>(1);
  store(factors, adam_factors(params), exec);
  adam_step(tensors, gradient_scale, factors, exec);
}

}  // namespace vg::kernels
