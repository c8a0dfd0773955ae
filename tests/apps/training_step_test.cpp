// A step of training in every way in which it can run: precisions, recorded or not, planned or done.
#include "apps/training_step.h"

#include <gtest/gtest.h>

#include "engine/memory_plan.h"
#include "layers/dice_cross_entropy.h"
#include "support/devices.h"
#include "support/random_data.h"

namespace vg::apps {
namespace {

using test::DeviceTest;

// Noise with a bright block whose voxels are of class 1.
std::shared_ptr<const data::Sample> sample(int64_t width, uint32_t seed) {
  data::Sample result;
  result.extent = {8, 8, width};
  result.channels = 2;
  const int64_t voxels = result.voxels();
  result.image = test::uniform(2 * voxels, seed);
  for (int64_t i = 0; i < voxels; ++i) {
    const bool inside = i / width % 8 < 4 && i % width > 2;
    result.labels.push_back(inside ? 1 : 0);
    if (inside) result.image[static_cast<size_t>(i)] += 1;
  }
  return std::make_shared<const data::Sample>(std::move(result));
}

// What some steps leave: losses, norms of gradients, and all weights.
struct Outcome {
  std::vector<float> losses, norms, weights;
  bool captured = false;
};

struct Setting {
  TrainingStep::Options options = {};
  int batches = 4;
  int64_t other_width_at = -1;  ///< this batch has another shape
  double dropout = 0;
  std::string network = "attention_unet";
  bool recompute = false;
};

struct Model {
  Rng rng{7};  // dropout draws from it
  std::shared_ptr<Network> network;
  std::shared_ptr<Optimizer> optimizer;

  Model(Device device, const Setting& setting) {
    network = make_network({.name = setting.network,
                            .in_channels = 2,
                            .out_channels = 3,
                            .channels = {16, 32},
                            .strides = {2},
                            .dropout = setting.dropout},
                           device, rng);
    network->train(true);
    network->set_recompute(setting.recompute);
    optimizer = make_adam({{network->named_parameters(), 1e-2, 0}});
  }

  [[nodiscard]] std::vector<float> weights() const {
    std::vector<float> result;
    for (const auto& [name, tensor] : network->state()) {
      if (tensor.dtype() == DType::int64) {
        result.push_back(static_cast<float>(tensor.values<int64_t>()[0]));
        continue;
      }
      const std::vector<float> values = tensor.values();
      result.insert(result.end(), values.begin(), values.end());
    }
    return result;
  }
};

Tensor loss_of(const Tensor& logits, const Tensor& labels) {
  return dice_cross_entropy_loss(logits, labels, {});
}

Samples batch(int64_t i, const Setting& setting) {
  const int64_t width = i == setting.other_width_at ? 12 : 8;
  return {sample(width, static_cast<uint32_t>(2 * i)), sample(width, static_cast<uint32_t>(2 * i + 1))};
}

Outcome train(Device device, const Setting& setting) {
  const Model model(device, setting);
  TrainingStep step(*model.network, *model.optimizer, loss_of, device, setting.options);
  Outcome outcome;
  for (int i = 0; i < setting.batches; ++i) step.run(batch(i, setting), {}, i + 1 == setting.batches);
  while (step.losses().size() > 0) outcome.losses.push_back(step.losses().pop());
  while (step.norms().size() > 0) outcome.norms.push_back(step.norms().pop());
  outcome.weights = model.weights();
  outcome.captured = step.captured();
  return outcome;
}

// The loop as every tutorial has it.
Outcome train_by_hand(Device device, const Setting& setting) {
  const Model model(device, setting);
  Uploader uploader(device);
  Outcome outcome;
  for (int i = 0; i < setting.batches; ++i) {
    const Samples samples = batch(i, setting);
    const BatchTensors tensors = empty_batch(samples, device, setting.options.precision);
    fill_batch(tensors, samples, uploader, {});
    const Tensor loss = loss_of((*model.network)(tensors.images), tensors.labels);
    loss.backward(1.0f / static_cast<float>(setting.options.accumulate));
    outcome.losses.push_back(loss.item());
    if ((i + 1) % setting.options.accumulate != 0 && i + 1 < setting.batches) continue;
    outcome.norms.push_back(model.optimizer->clip_gradients(setting.options.clip_norm).item());
    model.optimizer->step();
    model.optimizer->zero_grad();
  }
  outcome.weights = model.weights();
  return outcome;
}

void expect_same_bits(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.norms, b.norms);
  EXPECT_EQ(a.weights, b.weights);
}

using TrainingStepTest = DeviceTest;
VG_ON_EVERY_DEVICE(TrainingStepTest);

TEST_P(TrainingStepTest, LearnsAndGivesTheSameBitsTwice) {
  const Outcome first = train(device(), {}), second = train(device(), {});
  EXPECT_LT(first.losses.back(), 0.9f * first.losses.front());
  expect_same_bits(first, second);
}

TEST_P(TrainingStepTest, IsTheLoopWrittenByHand) {
  for (const int64_t accumulate : {1, 2}) {
    const Setting setting{.options = {.accumulate = accumulate, .clip_norm = 0.1}, .batches = 5};
    expect_same_bits(train(device(), setting), train_by_hand(device(), setting));
  }
}

TEST_P(TrainingStepTest, AccumulatedBatchesAreOneStep) {
  const Outcome outcome = train(device(), {.options = {.accumulate = 2, .clip_norm = 0.1}, .batches = 5});
  EXPECT_EQ(outcome.losses.size(), 5u);
  EXPECT_EQ(outcome.norms.size(), 3u) << "two full updates and the last";
}

// Weights, running statistics and counters of batches, and the masks of dropout, after several steps.
TEST_P(TrainingStepTest, RecomputedActivationsGiveTheSameBits) {
  std::vector<Setting> settings = {{.options = {.accumulate = 2, .clip_norm = 0.5}, .dropout = 0.2},
                                   {.batches = 3},
                                   {.batches = 3, .dropout = 0.2, .network = "unet"}};
  if (device() == Device::cuda)
    settings = {{.options = {.precision = DType::bfloat16}, .batches = 3}, {.batches = 2, .dropout = 0.2}};
  for (Setting setting : settings) {
    SCOPED_TRACE(::testing::Message() << setting.network << " " << setting.dropout);
    const Outcome kept = train(device(), setting);
    setting.recompute = true;
    const Outcome recomputed = train(device(), setting);
    EXPECT_EQ(recomputed.captured, kept.captured);
    expect_same_bits(recomputed, kept);
  }
}

#ifdef VOXGRAD_WITH_CUDA

class CudaTrainingStepTest : public DeviceTest {};
INSTANTIATE_TEST_SUITE_P(Devices, CudaTrainingStepTest, ::testing::Values(Device::cuda),
                         [](const auto& parameter) { return test::device_name(parameter.param); });

TEST_P(CudaTrainingStepTest, EqualsTheCpusStep) {
  const Outcome cuda = train(Device::cuda, {.batches = 2}), cpu = train(Device::cpu, {.batches = 2});
  for (size_t i = 0; i < cpu.losses.size(); ++i) EXPECT_NEAR(cuda.losses[i], cpu.losses[i], 1e-5);
}

TEST_P(CudaTrainingStepTest, Bfloat16IsCloseToFloatAndGivesTheSameBitsTwice) {
  const Setting mixed{.options = {.precision = DType::bfloat16}, .batches = 2};
  const Outcome first = train(Device::cuda, mixed), second = train(Device::cuda, mixed);
  const Outcome exact = train(Device::cuda, {.batches = 2});
  for (size_t i = 0; i < exact.losses.size(); ++i)
    EXPECT_NEAR(first.losses[i], exact.losses[i], 0.01 * exact.losses[i]) << i;
  EXPECT_NE(first.losses, exact.losses);
  expect_same_bits(first, second);
}

TEST_P(CudaTrainingStepTest, Tf32IsCloseToFloatAndOnlyIfAsked) {
  const Outcome exact = train(Device::cuda, {.batches = 2});
  Context::get().set_allow_tf32(true);
  const Outcome first = train(Device::cuda, {.batches = 2}), second = train(Device::cuda, {.batches = 2});
  Context::get().set_allow_tf32(false);
  for (size_t i = 0; i < exact.losses.size(); ++i)
    EXPECT_NEAR(first.losses[i], exact.losses[i], 0.002 * exact.losses[i]) << i;
  EXPECT_NE(first.losses, exact.losses);
  expect_same_bits(first, second);
  expect_same_bits(exact, train(Device::cuda, {.batches = 2}));
}

TEST_P(CudaTrainingStepTest, ACapturedStepGivesTheBitsOfAnUncapturedOne) {
  for (const DType precision : {DType::float32, DType::bfloat16}) {
    for (const int64_t accumulate : {1, 2}) {
      SCOPED_TRACE(::testing::Message() << dtype_name(precision) << " accumulate " << accumulate);
      // The third batch of another shape falls between replays and must not disturb them.
      Setting setting{.options = {.precision = precision, .accumulate = accumulate, .clip_norm = 0.5},
                      .batches = 6,
                      .other_width_at = 3};
      const Outcome captured = train(Device::cuda, setting);
      setting.options.cuda_graph = false;
      const Outcome uncaptured = train(Device::cuda, setting);
      EXPECT_TRUE(captured.captured);
      EXPECT_FALSE(uncaptured.captured);
      expect_same_bits(captured, uncaptured);
    }
  }
}

TEST_P(CudaTrainingStepTest, DropoutIsNotCaptured) {
  EXPECT_FALSE(train(Device::cuda, {.batches = 3, .dropout = 0.2}).captured);
}

#endif

// --- What a step takes, without doing it
// ---------------------------------------------------------------------

TEST_P(TrainingStepTest, ThePlanIsWhatTheStepTakes) {
  const DType precision = device() == Device::cuda ? DType::bfloat16 : DType::float32;
  Rng rng(7);
  const auto network = make_network(
      {.in_channels = 2, .out_channels = 3, .channels = {16, 32, 64}, .strides = {2, 2}}, device(), rng);
  const auto step = [&] {
    const Tensor images = Tensor::activation(2, 16, 16, 24, 2, device(), precision),
                 labels = Tensor::activation(2, 16, 16, 24, 1, device(), DType::uint8);
    dice_cross_entropy_loss((*network)(images), labels, {}).backward();
    for (const auto& [name, parameter] : network->named_parameters()) parameter.set_grad({});
  };
  const std::vector<float> before = network->named_parameters().front().second.values();
  const MemoryPlan plan(device(), step);
  EXPECT_EQ(network->named_parameters().front().second.values(), before);

  Allocator& allocator = Context::get().allocator(device());
  allocator.trim();
  allocator.reset_peak();
  const size_t in_use = allocator.statistics().bytes_in_use, reserved = allocator.statistics().bytes_reserved;
  step();
  EXPECT_EQ(plan.peak_bytes_in_use(), allocator.statistics().peak_bytes_in_use - in_use);
  EXPECT_EQ(plan.peak_bytes_reserved(), allocator.statistics().peak_bytes_reserved - reserved);
}

TEST_P(TrainingStepTest, ABatchOfEightOfTheSeedsSizeFitsInto24Gigabytes) {
  const DType precision = device() == Device::cuda ? DType::bfloat16 : DType::float32;
  Rng rng(7);
  const auto network = make_network(Architecture{}, device(), rng);
  const auto optimizer = make_adam({{network->named_parameters(), 1e-2, 0}});
  const TrainingStep step(
      *network, *optimizer,
      [](const Tensor& logits, const Tensor& labels) { return dice_cross_entropy_loss(logits, labels, {}); },
      device(), {.precision = precision});
  const size_t bytes = step.planned_bytes({8, 112, 128, 80, 4});
  // Two activations of the first level alone, twice, are the least that backward needs.
  EXPECT_GT(bytes, 4u * 8 * 112 * 128 * 80 * 16 * bytes_of(precision));
  EXPECT_LT(bytes + 1'000'000'000, 24'000'000'000u) << "with room for weights, moments and scratch";
  for (const auto& [name, parameter] : network->named_parameters())
    EXPECT_EQ(parameter.grad().values(), std::vector<float>(static_cast<size_t>(parameter.elements()), 0))
        << name << ": the plan left a gradient";
}

TEST_P(TrainingStepTest, RecomputationTakesLess) {
  const DType precision = device() == Device::cuda ? DType::bfloat16 : DType::float32;
  Rng rng(7);
  const auto network = make_network(Architecture{}, device(), rng);
  const auto optimizer = make_adam({{network->named_parameters(), 1e-2, 0}});
  const TrainingStep step(*network, *optimizer, loss_of, device(), {.precision = precision});
  const Shape shape = {1, 112, 128, 80, 4};
  const size_t kept = step.planned_bytes(shape);
  network->set_recompute(true);
  // In bfloat16 less is kept in the first place: norms are computed within the ops that read their results.
  const double share = device() == Device::cuda ? 0.8 : 0.5;
  EXPECT_LT(static_cast<double>(step.planned_bytes(shape)), share * static_cast<double>(kept));
}

TEST_P(TrainingStepTest, APlanThatFailsLeavesTheContextAsItWas) {
  EXPECT_THROW(MemoryPlan(device(), [] { throw std::runtime_error("stop"); }), std::runtime_error);
  const Tensor tensor = Tensor::full({4}, 2, device());
  EXPECT_EQ(tensor.values(), std::vector<float>(4, 2));
}

}  // namespace
}  // namespace vg::apps
