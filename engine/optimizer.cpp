#include "engine/optimizer.h"

#include <map>
#include <stdexcept>

#include "kernels/adam/adam.h"
#include "kernels/common/check.h"
#include "kernels/common/store.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/reduce/reduce.h"
#include "kernels/sgd/sgd.h"

namespace vg {

namespace {

kernels::Exec exec_of(const Tensor& tensor) {
  return Context::get().exec(tensor.device());
}

/// The factors that a tensor of bytes holds.
template <class Factors>
Factors* factors_of(const Tensor& bytes) {
  return reinterpret_cast<Factors*>(bytes.data<uint8_t>());
}

}  // namespace

Optimizer::Optimizer(std::vector<ParameterGroup> groups) : groups_(std::move(groups)) {
  kernels::require(!groups_.empty(), "optimizer: no parameter groups");
  factors_.resize(groups_.size());
  for (const ParameterGroup& group : groups_) {
    slots_.emplace_back();
    for (const auto& [name, parameter] : group.parameters) {
      kernels::require(parameter.requires_grad(), "optimizer: parameter '", name,
                       "' does not require a gradient");
      slots_.back().push_back({name, parameter, {}});
    }
  }
}

void Optimizer::allocate_state() {
  for (auto& group : slots_) {
    for (Slot& slot : group) {
      for (size_t i = 0; i < state_names().size(); ++i) {
        slot.state.push_back(Tensor::zeros(slot.parameter.shape(), DType::float32, slot.parameter.device()));
      }
    }
  }
}

void Optimizer::begin_step() {
  ++steps_;
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (slots_[g].empty()) continue;
    if (!factors_[g].defined()) {
      factors_[g] = Tensor::empty({static_cast<int64_t>(factor_bytes())}, DType::uint8,
                                  slots_[g].front().parameter.device());
    }
    store_factors(factors_[g], groups_[g].learning_rate * rate_factor_, groups_[g].weight_decay);
  }
}

void Optimizer::apply_step() {
  const float* const scale = gradient_scale_.defined() ? gradient_scale_.data<float>() : nullptr;
  for (size_t g = 0; g < groups_.size(); ++g) {
    std::vector<Slot*> with_gradient;
    for (Slot& slot : slots_[g]) {
      if (slot.parameter.grad().defined()) with_gradient.push_back(&slot);
    }
    if (!with_gradient.empty()) update(with_gradient, scale, factors_[g]);
  }
  gradient_scale_ = Tensor();
}

void Optimizer::zero_grad() const {
  std::vector<kernels::OutputArray> gradients;
  for (const auto& group : slots_) {
    for (const Slot& slot : group) {
      if (const Tensor gradient = slot.parameter.grad(); gradient.defined())
        gradients.push_back({gradient.data<float>(), gradient.elements()});
    }
  }
  if (!gradients.empty()) kernels::zero_arrays(gradients, exec_of(slots_.front().front().parameter));
}

Tensor Optimizer::clip_gradients(double max_norm) {
  std::vector<kernels::FlatTensor> gradients;
  for (const auto& group : slots_) {
    for (const Slot& slot : group) {
      if (const Tensor gradient = slot.parameter.grad(); gradient.defined()) {
        gradients.push_back({gradient.data<float>(), gradient.elements()});
      }
    }
  }
  kernels::require(!gradients.empty(), "clip_gradients: no parameter has a gradient");
  const Tensor& any = slots_.front().front().parameter;
  Tensor norm = Tensor::empty({1}, DType::float32, any.device());
  gradient_scale_ = Tensor::empty({1}, DType::float32, any.device());
  kernels::global_norm(norm.data<float>(), gradients, exec_of(any));
  kernels::clip_scale(gradient_scale_.data<float>(), norm.data<float>(), static_cast<float>(max_norm),
                      exec_of(any));
  return norm;
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> out = {{"step", Tensor::from_values<int64_t>({1}, {steps_})}};
  const auto names = state_names();
  for (const auto& group : slots_) {
    for (const Slot& slot : group) {
      for (size_t i = 0; i < names.size(); ++i) out.emplace_back(names[i] + "." + slot.name, slot.state[i]);
    }
  }
  return out;
}

void Optimizer::load_state(const std::vector<NamedTensor>& state) {
  const std::map<std::string, Tensor> given(state.begin(), state.end());
  const auto find = [&](const std::string& name, const Shape& shape) -> const Tensor& {
    const auto it = given.find(name);
    kernels::require(it != given.end(), "optimizer state '", name, "' is missing");
    kernels::require(it->second.shape() == shape, "optimizer state '", name, "' has shape ",
                     to_string(it->second.shape()), ", expected ", to_string(shape));
    return it->second;
  };
  const int64_t steps = find("step", {1}).values<int64_t>()[0];
  const auto names = state_names();
  for (auto& group : slots_) {
    for (Slot& slot : group) {
      for (size_t i = 0; i < names.size(); ++i)
        slot.state[i].copy_from(find(names[i] + "." + slot.name, slot.parameter.shape()));
    }
  }
  steps_ = steps;
}

namespace {

class Adam final : public Optimizer {
 public:
  Adam(std::vector<ParameterGroup> groups, const AdamOptions& options)
      : Optimizer(std::move(groups)), options_(options) {
    allocate_state();
  }

 private:
  [[nodiscard]] std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }

  [[nodiscard]] size_t factor_bytes() const override { return sizeof(kernels::AdamFactors); }

  void store_factors(const Tensor& factors, double learning_rate, double weight_decay) const override {
    const kernels::AdamParams params{.learning_rate = learning_rate,
                                     .beta1 = options_.beta1,
                                     .beta2 = options_.beta2,
                                     .eps = options_.eps,
                                     .weight_decay = weight_decay,
                                     .decoupled_weight_decay = options_.decoupled_weight_decay,
                                     .step = steps()};
    kernels::store(factors_of<kernels::AdamFactors>(factors), kernels::adam_factors(params),
                   exec_of(factors));
  }

  void update(const std::vector<Slot*>& slots, const float* gradient_scale, const Tensor& factors) override {
    std::vector<kernels::AdamTensor> tensors;
    for (const Slot* slot : slots) {
      tensors.push_back({slot->parameter.data<float>(), slot->parameter.grad().data<float>(),
                         slot->state[0].data<float>(), slot->state[1].data<float>(),
                         slot->parameter.elements()});
    }
    kernels::adam_step(tensors, gradient_scale, factors_of<const kernels::AdamFactors>(factors),
                       exec_of(factors));
  }

  AdamOptions options_;
};

class Sgd final : public Optimizer {
 public:
  Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options)
      : Optimizer(std::move(groups)), options_(options) {
    allocate_state();
  }

 private:
  [[nodiscard]] std::vector<std::string> state_names() const override {
    return options_.momentum != 0 ? std::vector<std::string>{"momentum_buffer"} : std::vector<std::string>{};
  }

  [[nodiscard]] size_t factor_bytes() const override { return sizeof(kernels::SgdFactors); }

  void store_factors(const Tensor& factors, double learning_rate, double weight_decay) const override {
    const kernels::SgdParams params{.learning_rate = learning_rate,
                                    .momentum = options_.momentum,
                                    .nesterov = options_.nesterov,
                                    .weight_decay = weight_decay,
                                    .first_step = steps() == 1};
    kernels::store(factors_of<kernels::SgdFactors>(factors), kernels::sgd_factors(params), exec_of(factors));
  }

  void update(const std::vector<Slot*>& slots, const float* gradient_scale, const Tensor& factors) override {
    std::vector<kernels::SgdTensor> tensors;
    for (const Slot* slot : slots) {
      tensors.push_back({slot->parameter.data<float>(), slot->parameter.grad().data<float>(),
                         slot->state.empty() ? nullptr : slot->state[0].data<float>(),
                         slot->parameter.elements()});
    }
    kernels::sgd_step(tensors, gradient_scale, factors_of<const kernels::SgdFactors>(factors),
                      options_.momentum != 0, exec_of(factors));
  }

  SgdOptions options_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adam(std::vector<ParameterGroup> groups, const AdamOptions& options) {
  return std::make_unique<Adam>(std::move(groups), options);
}

std::unique_ptr<Optimizer> make_sgd(std::vector<ParameterGroup> groups, const SgdOptions& options) {
  return std::make_unique<Sgd>(std::move(groups), options);
}

}  // namespace vg
