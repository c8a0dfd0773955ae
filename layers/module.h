// Module: a tree of layers that owns parameters and buffers under the names that PyTorch would give them.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/tensor.h"

namespace vg {

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// Trainable tensors, in PyTorch's order of registration.
  [[nodiscard]] std::vector<NamedTensor> named_parameters() const;
  /// Parameters and buffers (running statistics), in the order of PyTorch's state_dict.
  [[nodiscard]] std::vector<NamedTensor> state() const;
  /// Copies values into this module's tensors. Throws std::invalid_argument naming the first tensor that is
  /// missing, unknown or of another shape, with both shapes.
  void load_state(const std::vector<NamedTensor>& state);

  /// Training mode (batch statistics, dropout) or inference mode, for the whole tree. Ends freeze().
  void train(bool training = true);
  [[nodiscard]] bool training() const { return training_; }

  /// Prepares the whole tree, in inference mode, for many calls without recording with the weights that it
  /// has now: on the CPU batch norms are folded into convolutions and weights are packed for the kernels,
  /// once. `products`: bfloat16 rounds what convolutions multiply to it, where the processor is faster so.
  /// Lasts until train() or load_state(). Throws std::logic_error in training mode.
  void freeze(DType products = DType::float32);

 protected:
  /// A parameter: requires a gradient.
  Tensor& register_parameter(const std::string& name, Tensor tensor);
  Tensor& register_buffer(const std::string& name, Tensor tensor);
  /// Takes a child and returns it.
  template <class M>
  M& register_module(const std::string& name, std::unique_ptr<M> child) {
    M& reference = *child;
    children_.emplace_back(name, std::move(child));
    return reference;
  }

 private:
  struct Entry {
    std::string name;
    std::unique_ptr<Tensor> tensor;  ///< its address stays: layers keep references
    bool parameter;
  };
  /// Prepares this module alone, or drops what was prepared.
  virtual void set_frozen(bool /*frozen*/, DType /*products*/) {}
  void set_frozen_tree(bool frozen, DType products);
  void collect(const std::string& prefix, bool buffers_too, std::vector<NamedTensor>& out) const;

  std::vector<Entry> entries_;
  std::vector<std::pair<std::string, std::unique_ptr<Module>>> children_;
  bool training_ = true;
};

}  // namespace vg
