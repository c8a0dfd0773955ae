// Winograd convolutions against direct ones where it counts: gradients of a network on a phantom, and
// training.
#include <gtest/gtest.h>

#include <cmath>

#include "apps/training_step.h"
#include "data/phantom.h"
#include "layers/dice.h"
#include "support/instruction_sets.h"
#include "support/temporary_folder.h"

namespace vg::apps {
namespace {

using kernels::cpu::ConvolutionMethod;

// One phantom subject of 32 x 32 x 32 voxels.
const Samples& samples() {
  static const Samples made = [] {
    const test::TemporaryFolder folder;
    data::PhantomOptions options;
    options.count = 1, options.seed = 3, options.procedural = true, options.voxel_size = 7.5;
    data::make_phantom_dataset(folder.path(), options);
    const data::SubjectList list = data::list_subjects(folder.path());
    return Samples{std::make_shared<const data::Sample>(
        data::load_subject(list.subjects.front(), data::default_channels(),
                           data::Preprocessing::parse("to_canonical rescale(0,1) shape_multiple(16)"),
                           data::brats_edition(2020).schema))};
  }();
  return made;
}

Tensor loss_of(const Tensor& logits, const Tensor& labels) {
  return dice_loss(logits, labels, {.smooth_numerator = 1, .smooth_denominator = 1});
}

class Training {
 public:
  Training() {
    Rng rng(11);
    network_ = make_network(
        {.in_channels = 4, .out_channels = 4, .channels = {16, 32, 64}, .strides = {2, 2}}, Device::cpu, rng);
    optimizer_ = make_adam({{network_->named_parameters(), 1e-2, 0}});
  }

  // The losses of `count` steps.
  std::vector<double> steps(ConvolutionMethod method, int count) {
    kernels::cpu::force_convolution_method(method);
    TrainingStep step(*network_, *optimizer_, loss_of, Device::cpu, {});
    std::vector<double> losses;
    for (int i = 0; i < count; ++i) {
      step.run(samples(), {});
      losses.push_back(static_cast<double>(step.losses().pop()));
    }
    return losses;
  }

  // The gradients of all parameters, which change nothing.
  std::vector<std::vector<float>> gradients(ConvolutionMethod method) {
    kernels::cpu::force_convolution_method(method);
    Uploader uploader(Device::cpu);
    const BatchTensors batch = batch_tensors(samples(), uploader);
    optimizer_->zero_grad();
    loss_of((*network_)(batch.images), batch.labels).backward();
    std::vector<std::vector<float>> result;
    for (const auto& [name, parameter] : network_->named_parameters())
      result.push_back(parameter.grad().values());
    optimizer_->zero_grad();
    return result;
  }

 private:
  std::shared_ptr<Network> network_;
  std::shared_ptr<Optimizer> optimizer_;
};

// After some steps, the gradient of all parameters as one vector. Values that round to the other side of a
// relu's kink bound how well two methods can agree; before the first step, with all biases zero, the whole
// background lies there.
TEST(ConvolutionMethod, GradientsOnAPhantomAgree) {
  const test::CpuSettings restore;
  Training training;
  training.steps(ConvolutionMethod::direct, 6);
  const auto direct = training.gradients(ConvolutionMethod::direct),
             winograd = training.gradients(ConvolutionMethod::winograd);
  double difference = 0, length = 0;
  for (size_t p = 0; p < direct.size(); ++p) {
    for (size_t i = 0; i < direct[p].size(); ++i) {
      const auto a = static_cast<double>(direct[p][i]), b = static_cast<double>(winograd[p][i]);
      difference += (a - b) * (a - b);
      length += a * a;
    }
  }
  EXPECT_GT(difference, 0) << "both ran the same convolutions";
  EXPECT_LE(std::sqrt(difference / length), 1e-4);
}

TEST(ConvolutionMethod, TrainingCurvesCoincide) {
  const test::CpuSettings restore;
  constexpr int count = 10;
  const std::vector<double> direct = Training().steps(ConvolutionMethod::direct, count),
                            winograd = Training().steps(ConvolutionMethod::winograd, count);
  EXPECT_LT(direct.back(), 0.96 * direct.front()) << "it does not train";
  for (size_t i = 0; i < count; ++i) EXPECT_NEAR(winograd[i], direct[i], 1e-3) << "step " << i;
}

}  // namespace
}  // namespace vg::apps
