// One step of training: forward, loss, backward and update, as a CUDA graph where that is possible.
#pragma once

#include <functional>
#include <memory>

#include "apps/batch_tensors.h"
#include "engine/captured_graph.h"
#include "engine/memory_plan.h"
#include "engine/optimizer.h"
#include "nets/network.h"

namespace vg::apps {

/// Mixed precision: with bfloat16 activations the parameters, their gradients, the optimizer's state, sums
/// and the loss stay float32, as under PyTorch's autocast; bfloat16 has float's range, so that no loss
/// scaling is needed. The host waits for nothing within a step: losses come through a queue.
class TrainingStep {
 public:
  using Loss = std::function<Tensor(const Tensor& logits, const Tensor& labels)>;
  struct Options {
    DType precision = DType::float32;  ///< of activations
    int64_t accumulate = 1;            ///< batches for each update
    double clip_norm = 0;              ///< 0: no clipping
    /// Record batches of one shape as a CUDA graph and replay it. Not with dropout, whose numbers the host
    /// draws; on the CPU it has no effect.
    bool cuda_graph = true;
  };

  /// Network and optimizer must outlive the step. Gives the parameters gradients of zeros.
  TrainingStep(Network& network, Optimizer& optimizer, Loss loss, Device device, const Options& options);

  /// Adds the gradients of a batch, and after every `accumulate` of them, or if `last`, updates the weights.
  /// Puts the loss into losses(), and after an update with clipping the norm of the gradient into norms().
  /// Throws data::DataError as empty_batch() does.
  void run(const Samples& samples, std::span<const std::vector<data::AppliedTransform>> transforms,
           bool last = false);

  /// Bytes that batches of a shape [N, D, H, W, C] take beside what exists before the first step: batch,
  /// activations and their gradients. Kernels' scratch is not in it.
  [[nodiscard]] size_t planned_bytes(const Shape& shape) const { return plan(shape).peak_bytes_reserved(); }
  /// On the CPU: the most that the process will have in memory, see planned_resident_bytes().
  [[nodiscard]] size_t planned_resident_bytes(const Shape& shape) const;

  /// True if the batch just run was the last before an update.
  [[nodiscard]] bool updated() const { return pending_ == 0; }
  /// True if batches are replayed from a graph.
  [[nodiscard]] bool captured() const { return graph_ != nullptr; }

  ScalarQueue& losses() { return losses_; }
  ScalarQueue& norms() { return norms_; }
  /// For other batches of the same device.
  Uploader& uploader() { return uploader_; }

 private:
  [[nodiscard]] MemoryPlan plan(const Shape& shape) const;
  /// What a step leaves on the device: one float each.
  struct Results {
    Tensor loss;
    Tensor norm;  ///< of the gradient, with clipping
  };
  Tensor accumulate_gradients(const BatchTensors& batch);
  Tensor update();
  /// What is captured: with one batch an update all of the step, else all before the update.
  Results work(const BatchTensors& batch);

  Network& network_;
  Optimizer& optimizer_;
  Loss loss_function_;
  Options options_;
  Uploader uploader_;
  ScalarQueue losses_, norms_;
  BatchTensors inputs_;  ///< of the last batch, and of the graph: its memory is filled again
  std::unique_ptr<CapturedGraph> graph_;
  Results graph_results_;  ///< where the graph leaves them
  int64_t pending_ = 0;    ///< batches since the last update
  bool may_capture_;
};

}  // namespace vg::apps
