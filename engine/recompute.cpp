#include "engine/recompute.h"

#include <stdexcept>
#include <utility>

namespace vg {

uint64_t Recomputation::draw(uint64_t& draws) {
  if (!again_) {
    draws_.push_back(outer_ != nullptr ? outer_->draw(draws) : draws++);
    return draws_.back();
  }
  if (next_ == draws_.size())
    throw std::logic_error("recompute: the function draws more random numbers than the first time");
  return draws_[next_++];
}

std::vector<Tensor> Recomputation::once(const std::function<std::vector<Tensor>()>& compute) {
  if (!again_) {
    computed_.push_back(outer_ != nullptr ? outer_->once(compute) : compute());
    return computed_.back();
  }
  if (next_computed_ == computed_.size())
    throw std::logic_error("recompute: the function computes more statistics than the first time");
  return std::move(computed_[next_computed_++]);
}

void Recomputation::start_again() {
  again_ = true;
  next_ = next_computed_ = 0;
}

std::vector<Tensor> computed_once(const std::function<std::vector<Tensor>()>& compute) {
  Recomputation* const function = Context::get().recomputation();
  return function != nullptr ? function->once(compute) : compute();
}

bool Context::computing_again() const {
  return recomputation_ != nullptr && recomputation_->again();
}

bool Context::result_unread() const {
  return recomputation_ != nullptr && recomputation_->result_unread();
}

/// Within its life the context belongs to a function of recompute().
class RecomputationGuard {
 public:
  RecomputationGuard(Recomputation& function, bool recording)
      : function_before_(std::exchange(Context::get().recomputation_, &function)),
        recording_before_(std::exchange(Context::get().recording_, recording)) {}
  ~RecomputationGuard() {
    Context::get().recomputation_ = function_before_;
    Context::get().recording_ = recording_before_;
  }
  RecomputationGuard(const RecomputationGuard&) = delete;
  RecomputationGuard& operator=(const RecomputationGuard&) = delete;

 private:
  Recomputation* function_before_;
  bool recording_before_;
};

namespace {

/// Inputs: those of the function, then its parameters. The inner tape gives parameters their gradients.
class RecomputeNode : public Node {
 public:
  RecomputeNode(TensorFunction function, std::vector<Tensor> inputs, Recomputation first_time)
      : function_(std::move(function)), inputs_(std::move(inputs)), recomputation_(std::move(first_time)) {}
  const char* name() const override { return "recompute"; }

  void backward(const Tensor& grad_output) override { backward_with(grad_output); }
  void backward_with(Tensor grad_output) override;

 private:
  /// Where an input enters the inner tape: hands its gradient on to the outer one.
  class Entry : public Node {
   public:
    Entry(RecomputeNode& outside, size_t index) : outside_(outside), index_(index) {}
    const char* name() const override { return "recompute"; }
    void backward(const Tensor& grad_output) override { outside_.pass(index_, grad_output); }

   protected:
    Node* taker() override { return outside_.origin(index_); }

   private:
    RecomputeNode& outside_;
    size_t index_;
  };

  TensorFunction function_;
  std::vector<Tensor> inputs_;
  Recomputation recomputation_;
};

void RecomputeNode::backward_with(Tensor grad_output) {
  std::vector<std::shared_ptr<AutogradMeta>> entries;
  std::shared_ptr<AutogradMeta> result;
  {
    std::vector<Tensor> inputs = std::move(inputs_);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (needs(i)) attach(inputs[i], std::make_shared<Entry>(*this, i), {});
      entries.push_back(inputs[i].autograd_meta());
    }
    recomputation_.start_again();
    const RecomputationGuard guard(recomputation_, /*recording=*/true);
    result = function_(inputs).autograd_meta();
  }
  if (result == nullptr) return;  // computed from nothing that requires a gradient
  // An input's gradient so far goes along, so that an op that adds to it on its way finds it as it would
  // without recomputation.
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i] != nullptr) entries[i]->grad = take_gradient(i);
  }
  run_backward(result, std::move(grad_output));
  for (size_t i = 0; i < entries.size(); ++i) {  // of inputs that the result does not depend on
    if (entries[i] != nullptr && entries[i]->grad.defined())
      pass(i, std::exchange(entries[i]->grad, Tensor()));
  }
}

}  // namespace

Tensor recompute(const TensorFunction& function, const std::vector<Tensor>& inputs,
                 const std::vector<Tensor>& parameters) {
  std::vector<Tensor> all = inputs;
  all.insert(all.end(), parameters.begin(), parameters.end());
  if (!should_record(all)) return function(inputs);
  std::vector<Tensor> kept;
  for (const Tensor& input : inputs) kept.push_back(input.detach());
  Recomputation first_time(Context::get().recomputation());
  Tensor result;
  {
    const RecomputationGuard guard(first_time, /*recording=*/false);
    result = function(kept);
  }
  return record<RecomputeNode>(result, all, function, std::move(kept), std::move(first_time));
}

}  // namespace vg
