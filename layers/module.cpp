#include "layers/module.h"

#include <map>
#include <stdexcept>

namespace vg {

Tensor& Module::register_parameter(const std::string& name, Tensor tensor) {
  entries_.push_back({name, std::make_unique<Tensor>(std::move(tensor)), true});
  return entries_.back().tensor->set_requires_grad(true);
}

Tensor& Module::register_buffer(const std::string& name, Tensor tensor) {
  entries_.push_back({name, std::make_unique<Tensor>(std::move(tensor)), false});
  return *entries_.back().tensor;
}

void Module::collect(const std::string& prefix, bool buffers_too, std::vector<NamedTensor>& out) const {
  for (const bool parameters : {true, false}) {
    if (!parameters && !buffers_too) continue;
    for (const Entry& entry : entries_) {
      if (entry.parameter == parameters) out.emplace_back(prefix + entry.name, *entry.tensor);
    }
  }
  for (const auto& [name, child] : children_) child->collect(prefix + name + ".", buffers_too, out);
}

std::vector<NamedTensor> Module::named_parameters() const {
  std::vector<NamedTensor> out;
  collect("", false, out);
  return out;
}

std::vector<NamedTensor> Module::state() const {
  std::vector<NamedTensor> out;
  collect("", true, out);
  return out;
}

void Module::load_state(const std::vector<NamedTensor>& state) {
  std::map<std::string, Tensor> given(state.begin(), state.end());
  for (const auto& [name, tensor] : this->state()) {
    const auto it = given.find(name);
    if (it == given.end())
      throw std::invalid_argument("tensor '" + name + "' is missing, expected shape " +
                                  to_string(tensor.shape()));
    if (it->second.shape() != tensor.shape()) {
      throw std::invalid_argument("tensor '" + name + "' has shape " + to_string(it->second.shape()) +
                                  ", expected " + to_string(tensor.shape()));
    }
    if (it->second.dtype() != tensor.dtype()) {
      throw std::invalid_argument("tensor '" + name + "' has type " + dtype_name(it->second.dtype()) +
                                  ", expected " + dtype_name(tensor.dtype()));
    }
    given.erase(it);
  }
  if (!given.empty())
    throw std::invalid_argument("tensor '" + given.begin()->first + "' is not part of this network");
  set_frozen_tree(false, DType::float32);
  const std::map<std::string, Tensor> sources(state.begin(), state.end());
  for (const auto& [name, tensor] : this->state()) tensor.copy_from(sources.at(name));
}

void Module::set_frozen_tree(bool frozen, DType products) {
  set_frozen(frozen, products);
  for (const auto& [name, child] : children_) child->set_frozen_tree(frozen, products);
}

void Module::freeze(DType products) {
  if (training_) throw std::logic_error("freeze: the module is in training mode");
  set_frozen_tree(true, products);
}

void Module::train(bool training) {
  training_ = training;
  set_frozen(false, DType::float32);
  for (const auto& [name, child] : children_) child->train(training);
}

}  // namespace vg
