#include "engine/autograd.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <utility>

#include "kernels/elementwise/elementwise.h"

namespace vg {

void Node::pass(size_t index, const Tensor& gradient) {
  const Edge& edge = inputs_.at(index);
  if (edge.meta == nullptr) return;
  if (gradient.shape() != edge.shape || gradient.dtype() != edge.dtype) {
    throw std::logic_error(std::string(name()) + ": gradient of input " + std::to_string(index) + " is " +
                           dtype_name(gradient.dtype()) + " " + to_string(gradient.shape()) + ", expected " +
                           dtype_name(edge.dtype) + " " + to_string(edge.shape));
  }
  Tensor& grad = edge.meta->grad;
  // A gradient handed to two inputs (as add does) is shared until somebody must write: then the writer takes
  // a copy.
  if (!grad.defined()) {
    grad = edge.meta->leaf && gradient.storage_use_count() > 1 ? gradient.clone() : gradient.detach();
    return;
  }
  const kernels::Exec exec = Context::get().exec(gradient.device());
  if (grad.storage_use_count() == 1) {
    with_element_type(
        grad, [&]<class T>() { kernels::accumulate(grad.view<T>(), gradient.view<const T>(), 1, exec); });
  } else {
    const Tensor sum = Tensor::empty_like(grad);
    with_element_type(grad, [&]<class T>() {
      kernels::add(sum.view<T>(), grad.view<const T>(), gradient.view<const T>(), exec);
    });
    grad = sum;
  }
}

Tensor Node::take_gradient(size_t index) {
  const Edge& edge = inputs_.at(index);
  return edge.meta == nullptr ? Tensor() : std::exchange(edge.meta->grad, Tensor());
}

Node* Node::origin(size_t index) const {
  const Edge& edge = inputs_.at(index);
  return edge.meta == nullptr || edge.meta->node == nullptr ? nullptr : edge.meta->node->taker();
}

Tensor Node::accumulation_buffer(size_t index) {
  const Edge& edge = inputs_.at(index);
  if (edge.meta == nullptr)
    throw std::logic_error(std::string(name()) + ": no gradient is wanted of this input");
  Tensor& grad = edge.meta->grad;
  if (!grad.defined()) {
    grad = Tensor::zeros(edge.shape, edge.dtype, edge.device);
  } else if (grad.storage_use_count() > 1 && !edge.meta->leaf) {
    grad = grad.clone();
  }
  return grad;
}

bool should_record(const std::vector<Tensor>& inputs) {
  return Context::get().recording() &&
         std::any_of(inputs.begin(), inputs.end(), [](const Tensor& t) { return t.requires_grad(); });
}

void attach(Tensor& output, std::shared_ptr<Node> node, const std::vector<Tensor>& inputs) {
  for (const Tensor& input : inputs) {
    if (!input.defined() || !input.requires_grad()) {
      node->inputs_.emplace_back();
      continue;
    }
    node->inputs_.push_back({input.autograd_meta(), input.shape(), input.dtype(), input.device()});
    if (const auto& origin = input.autograd_meta()->node)
      node->depth_ = std::max(node->depth_, origin->depth_ + 1);
  }
  auto meta = std::make_shared<AutogradMeta>();
  meta->node = std::move(node);
  output.set_autograd_meta(std::move(meta));
}

void run_backward(const std::shared_ptr<AutogradMeta>& root, Tensor seed) {
  // All tensors with an origin that the root depends on, in the order of discovery.
  std::vector<std::shared_ptr<AutogradMeta>> tape;
  std::unordered_set<const AutogradMeta*> seen;
  const auto visit = [&](const std::shared_ptr<AutogradMeta>& meta) {
    if (meta == nullptr || meta->leaf || !seen.insert(meta.get()).second) return;
    if (meta->node == nullptr)
      throw std::logic_error("backward: an earlier backward() has freed the operations behind this tensor");
    tape.push_back(meta);
  };
  visit(root);
  for (size_t i = 0; i < tape.size(); ++i) {
    for (const Node::Edge& edge : tape[i]->node->inputs_) visit(edge.meta);
  }
  std::stable_sort(tape.begin(), tape.end(),
                   [](const auto& a, const auto& b) { return a->node->depth_ > b->node->depth_; });

  if (root->leaf && root->grad.defined()) {
    kernels::accumulate(root->grad.view(), seed.view<const float>(), 1, Context::get().exec(seed.device()));
  } else {
    root->grad = std::move(seed);
  }
  for (auto& meta : tape) {
    Tensor gradient = std::exchange(meta->grad, Tensor());
    const std::shared_ptr<Node> node = std::move(meta->node);
    if (gradient.defined()) node->backward_with(std::move(gradient));
    meta.reset();  // the tape lets go of what it has passed: saved tensors are freed while backward goes on
  }
}

}  // namespace vg
