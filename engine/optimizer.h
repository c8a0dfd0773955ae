// Optimizers: parameter groups with their own rates, state under the parameters' names, gradient clipping
// without a round trip to the host.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace vg {

/// Parameters that share learning rate and weight decay.
struct ParameterGroup {
  std::vector<NamedTensor> parameters;
  double learning_rate = 1e-3;  ///< before the schedule's factor
  double weight_decay = 0;
};

class Optimizer {
 public:
  explicit Optimizer(std::vector<ParameterGroup> groups);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that has a gradient.
  void step() {
    begin_step();
    apply_step();
  }
  /// The two halves of step(). begin_step() counts the step and gives its rates to the device; apply_step()
  /// launches the update. A captured graph holds the second alone, so that replays compute new steps.
  void begin_step();
  void apply_step();
  /// Sets all gradients to zero and keeps their memory.
  void zero_grad() const;
  /// Scales the gradients of the next step() so that their norm is at most `max_norm` (PyTorch's
  /// clip_grad_norm_). Returns the norm before, a tensor of one element on the parameters' device.
  Tensor clip_gradients(double max_norm);
  /// Multiplies the groups' learning rates from now on: what a schedule sets.
  void set_rate_factor(double factor) { rate_factor_ = factor; }
  /// The learning rate of the first group, schedule included.
  [[nodiscard]] double learning_rate() const { return groups_.front().learning_rate * rate_factor_; }

  [[nodiscard]] int64_t steps() const { return steps_; }
  /// Moments or momentum as "<prefix><parameter name>", and the step count as "step" (int64).
  [[nodiscard]] std::vector<NamedTensor> state() const;
  /// Throws std::invalid_argument naming the first tensor that is missing or does not fit.
  void load_state(const std::vector<NamedTensor>& state);

 protected:
  /// One parameter with its state tensors.
  struct Slot {
    std::string name;
    Tensor parameter;
    std::vector<Tensor> state;
  };
  /// The names of a slot's state tensors.
  [[nodiscard]] virtual std::vector<std::string> state_names() const = 0;
  /// Bytes of what a group's update reads on the device: the factors of a step.
  [[nodiscard]] virtual size_t factor_bytes() const = 0;
  /// Writes the factors of the step that steps() counts.
  virtual void store_factors(const Tensor& factors, double learning_rate, double weight_decay) const = 0;
  /// Updates the slots given (those with a gradient). `gradient_scale`: one float on the device, or null.
  virtual void update(const std::vector<Slot*>& slots, const float* gradient_scale,
                      const Tensor& factors) = 0;
  /// Allocates the state of all slots, zero.
  void allocate_state();

 private:
  std::vector<ParameterGroup> groups_;
  std::vector<std::vector<Slot>> slots_;  ///< one list for each group
  std::vector<Tensor> factors_;           ///< on the device, one for each group
  Tensor gradient_scale_;                 ///< set by clip_gradients, used by the next step
  double rate_factor_ = 1;
  int64_t steps_ = 0;
};

/// PyTorch's Adam and AdamW.
struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  bool decoupled_weight_decay = false;  ///< AdamW
};
std::unique_ptr<Optimizer> make_adam(std::vector<ParameterGroup> groups, const AdamOptions& options = {});

/// PyTorch's SGD.
struct SgdOptions {
  double momentum = 0;
  bool nesterov = false;
};
std::unique_ptr<Optimizer> make_sgd(std::vector<ParameterGroup> groups, const SgdOptions& options = {});

}  // namespace vg
