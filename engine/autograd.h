// Reverse-mode automatic differentiation. Each recorded operation is a Node that knows its inputs and how to
// turn the gradient of its output into gradients of its inputs; the nodes reachable from a loss are its tape.
#pragma once

#include <memory>
#include <vector>

#include "engine/tensor.h"

namespace vg {

class Node;

/// What autograd knows about a tensor. Shared by all handles on it, and by the nodes that take it as input,
/// which so keep neither its values nor its storage alive.
struct AutogradMeta {
  bool leaf = false;           ///< a parameter: its gradient stays after backward
  Tensor grad;                 ///< of a leaf: accumulated; of others: in use only during backward
  std::shared_ptr<Node> node;  ///< the operation that made the tensor; null for leaves
};

/// One recorded operation with one output. A subclass saves what its backward needs; it must save its own
/// output only as output.detach(), else node and output would own each other.
class Node {
 public:
  virtual ~Node() = default;
  /// The operation's name, for messages.
  [[nodiscard]] virtual const char* name() const = 0;
  /// Given the gradient of the output, calls pass() or fills accumulation_buffer() for each input that needs
  /// a gradient. Called once; the node is destroyed afterwards, and with it what it saved.
  virtual void backward(const Tensor& grad_output) = 0;
  /// What the tape calls: backward() with a gradient that the tape has let go of. For a node that hands it
  /// on.
  virtual void backward_with(Tensor grad_output) { backward(grad_output); }
  /// The operation's output, computed anew from what it has saved, for readers that would rather not save
  /// it; undefined unless gives_output_again().
  [[nodiscard]] virtual Tensor output_again() const { return {}; }
  [[nodiscard]] virtual bool gives_output_again() const { return false; }

 protected:
  /// Who takes the gradient: this, but for a node that only hands it on.
  [[nodiscard]] virtual Node* taker() { return this; }
  /// True if the gradient of input `index` is wanted.
  [[nodiscard]] bool needs(size_t index) const { return inputs_.at(index).meta != nullptr; }
  /// Hands on the gradient of input `index`: kept if it is the first, else added.
  void pass(size_t index, const Tensor& gradient);
  /// The gradient so far of input `index`, for an op that adds to it on its way; undefined if there was none.
  /// The caller must pass() it on, with its own in it or besides.
  [[nodiscard]] Tensor take_gradient(size_t index);
  /// The operation that made input `index` and that its gradient goes to; null without one, or if no gradient
  /// is wanted. For ops that leave more there than the gradient.
  [[nodiscard]] Node* origin(size_t index) const;
  /// The gradient so far of input `index` (a parameter), zero if there was none, to be added to by kernels
  /// that accumulate.
  [[nodiscard]] Tensor accumulation_buffer(size_t index);

 private:
  friend void attach(Tensor& output, std::shared_ptr<Node> node, const std::vector<Tensor>& inputs);
  friend void run_backward(const std::shared_ptr<AutogradMeta>& root, Tensor seed);
  struct Edge {
    std::shared_ptr<AutogradMeta> meta;  ///< null if no gradient is wanted
    Shape shape;
    DType dtype = DType::float32;
    Device device = Device::cpu;
  };
  std::vector<Edge> inputs_;
  int64_t depth_ = 0;  ///< longest path from a leaf: deeper nodes run first
};

/// True if operations are being recorded and one of the inputs (undefined ones are skipped) requires a
/// gradient.
bool should_record(const std::vector<Tensor>& inputs);
void attach(Tensor& output, std::shared_ptr<Node> node, const std::vector<Tensor>& inputs);
/// Runs all nodes reachable from `root`, deepest first, and frees them. Throws std::logic_error if some of
/// them were freed before.
void run_backward(const std::shared_ptr<AutogradMeta>& root, Tensor seed);

/// Records that `output` came from `inputs` by a NodeType made from `arguments`, if anything needs to be
/// recorded; returns output. `inputs` are in the order of the node's input indices; an undefined one (no
/// bias) needs no gradient.
template <class NodeType, class... Arguments>
Tensor record(Tensor output, const std::vector<Tensor>& inputs, Arguments&&... arguments) {
  if (should_record(inputs))
    attach(output, std::make_shared<NodeType>(std::forward<Arguments>(arguments)...), inputs);
  return output;
}

}  // namespace vg
