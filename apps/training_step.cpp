#include "apps/training_step.h"

namespace vg::apps {

TrainingStep::TrainingStep(Network& network, Optimizer& optimizer, Loss loss, Device device,
                           const Options& options)
    : network_(network),
      optimizer_(optimizer),
      loss_function_(std::move(loss)),
      options_(options),
      uploader_(device),
      may_capture_(device == Device::cuda && options.cuda_graph && network.architecture().dropout == 0) {
  allocate_gradients(network.named_parameters());
}

MemoryPlan TrainingStep::plan(const Shape& s) const {
  const Device device = uploader_.device();
  return {device, [&] {
            const Tensor images =
                             Tensor::activation(s[0], s[1], s[2], s[3], s[4], device, options_.precision),
                         labels = Tensor::activation(s[0], s[1], s[2], s[3], 1, device, DType::uint8);
            loss_function_(network_(images), labels).backward();
          }};
}

size_t TrainingStep::planned_resident_bytes(const Shape& s) const {
  return vg::planned_resident_bytes(plan(s), s[0] * s[1] * s[2] * s[3]);
}

Tensor TrainingStep::accumulate_gradients(const BatchTensors& batch) {
  const Tensor loss = loss_function_(network_(batch.images), batch.labels);
  loss.backward(1.0f / static_cast<float>(options_.accumulate));
  return loss.detach();
}

Tensor TrainingStep::update() {
  Tensor norm;
  if (options_.clip_norm > 0) norm = optimizer_.clip_gradients(options_.clip_norm);
  optimizer_.apply_step();
  optimizer_.zero_grad();
  return norm;
}

TrainingStep::Results TrainingStep::work(const BatchTensors& batch) {
  Results results;
  results.loss = accumulate_gradients(batch);
  if (options_.accumulate == 1) results.norm = update();
  return results;
}

void TrainingStep::run(const Samples& samples,
                       std::span<const std::vector<data::AppliedTransform>> transforms, bool last) {
  const bool as_before = inputs_.images.defined() && inputs_.images.shape() == batch_shape(samples);
  const BatchTensors batch =
      as_before ? inputs_ : empty_batch(samples, uploader_.device(), options_.precision);
  fill_batch(batch, samples, uploader_, transforms);
  ++pending_;
  const bool update_now = last || pending_ == options_.accumulate;
  if (update_now) {
    optimizer_.begin_step();
    pending_ = 0;
  }
  // The first batch of a shape runs as it is and leaves gradients and scratch memory as the graph needs them.
  if (graph_ == nullptr && may_capture_ && as_before)
    graph_ = std::make_unique<CapturedGraph>([&] { graph_results_ = work(batch); });
  const bool replay = graph_ != nullptr && as_before;
  if (replay) graph_->replay();
  Results results = replay ? graph_results_ : work(batch);
  if (update_now && options_.accumulate > 1) results.norm = update();
  if (graph_ == nullptr) inputs_ = batch;
  losses_.push(results.loss);
  if (results.norm.defined()) norms_.push(results.norm);
}

}  // namespace vg::apps
