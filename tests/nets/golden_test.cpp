// The networks against MONAI's: names, logits, every gradient, running statistics and training, from the same
// weights.
#include <gtest/gtest.h>

#include <map>

#include "engine/optimizer.h"
#include "engine/scheduler.h"
#include "layers/dice.h"
#include "nets/attention_unet.h"
#include "nets/unet.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "tests/support/temporary_folder.h"

namespace vg::test {
namespace {

constexpr DiceParams seed_loss{.smooth_numerator = 1, .smooth_denominator = 1};

std::unique_ptr<Network> network_from(const Safetensors& weights, const std::string& architecture,
                                      Device device, Rng& rng) {
  auto network = make_network(architecture_from_json(architecture), device, rng);
  network->load_state(weights.tensors);
  return network;
}

double largest(const Tensor& t) {
  double maximum = 0;
  for (const float v : t.values()) maximum = std::max(maximum, std::abs(static_cast<double>(v)));
  return maximum;
}

bool is_counter(const std::string& name) {
  return name.ends_with("num_batches_tracked");
}

struct Case {
  Device device;
  const char* file;
  bool fused = true;
};

std::string name_of(const Case& c) {
  return device_name(c.device) + "_" + c.file + (c.fused ? "" : "_composed");
}

void PrintTo(const Case& c, std::ostream* out) {
  *out << name_of(c);
}

class GoldenNetwork : public ::testing::TestWithParam<Case> {
 protected:
  GoldenNetwork()
      : golden_(load_golden(GetParam().file)),
        weights_(load_golden(std::string(GetParam().file) + ".weights")),
        network_(network_from(weights_, golden_architecture(golden_), GetParam().device, rng_)),
        input_(golden_activation(golden_.at("input"), GetParam().device)),
        labels_(golden_labels(golden_.at("labels"), GetParam().device)) {
    if (auto* unet = dynamic_cast<AttentionUnet*>(network_.get())) unet->set_fused_gates(GetParam().fused);
  }

  /// Our error may be ten times that of PyTorch in float32, which the file tells.
  [[nodiscard]] double tolerance(const std::string& what) const {
    return 10 * std::max(golden_metadata(golden_).at("torch_float32_error").at(what).get<double>(), 1e-6);
  }
  void expect_logits(const std::string& name, const Tensor& logits) const {
    const Tensor& expected = golden_.at(name);
    EXPECT_TRUE(all_close(logits.values_ncdhw(), expected.values(), tolerance(name) * largest(expected)))
        << name;
  }
  void expect_running_statistics() const {
    for (const auto& [name, tensor] : network_->state()) {
      if (!golden_.contains("after/" + name)) continue;
      const Tensor& expected = golden_.at("after/" + name);
      if (is_counter(name)) {
        EXPECT_EQ(tensor.values<int64_t>(), expected.values<int64_t>()) << name;
      } else {
        EXPECT_TRUE(all_close(tensor.values(), expected.values(), 1e-5 * std::max(largest(expected), 0.1)))
            << name;
      }
    }
  }

  Rng rng_{1};
  Safetensors golden_, weights_;
  std::unique_ptr<Network> network_;
  Tensor input_, labels_;
};

TEST_P(GoldenNetwork, LogitsInInference) {
  network_->train(false);
  const NoGradGuard no_grad;
  expect_logits("logits_eval", (*network_)(input_));
  for (const auto& [name, tensor] : network_->state()) {  // nothing has changed
    if (!is_counter(name)) {
      EXPECT_EQ(tensor.values(), weights_.at(name).values()) << name;
    }
  }
}

TEST_P(GoldenNetwork, LogitsOfTheFrozenNetwork) {
  network_->train(false);
  const NoGradGuard no_grad;
  const std::vector<float> unfrozen = (*network_)(input_).values();
  network_->freeze();
  const Tensor logits = (*network_)(input_);
  expect_logits("logits_eval", logits);
  EXPECT_TRUE(all_close(logits.values(), unfrozen, tolerance("logits_eval") * largest(logits)));
  EXPECT_EQ((*network_)(input_).values(), logits.values());  // the second call has its weights packed
  for (const auto& [name, tensor] : network_->state()) {     // nothing has changed
    if (!is_counter(name)) {
      EXPECT_EQ(tensor.values(), weights_.at(name).values()) << name;
    }
  }
}

TEST_P(GoldenNetwork, LogitsGradientsAndRunningStatisticsInTraining) {
  const Tensor logits = (*network_)(input_);
  expect_logits("logits_train", logits);
  expect_running_statistics();
  const Tensor loss = dice_loss(logits, labels_, seed_loss);
  EXPECT_NEAR(loss.item(), golden_.at("loss").item(), 1e-6);
  loss.backward();

  // Biases in front of a norm have gradient zero: rounding noise is measured by the gradient of their weight.
  std::map<std::string, double> scales;
  for (const auto& [name, tensor] : network_->named_parameters()) {
    const std::string owner = name.substr(0, name.rfind('.'));
    scales[owner] = std::max(scales[owner], largest(golden_.at("gradient/" + name)));
  }
  for (const auto& [name, tensor] : network_->named_parameters()) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    const Tensor& expected = golden_.at("gradient/" + name);
    const double scale =
        largest(expected) > 1e-12 ? largest(expected) : scales[name.substr(0, name.rfind('.'))];
    EXPECT_TRUE(all_close(tensor.grad().values(), expected.values(), tolerance("gradient") * scale)) << name;
  }
}

TEST_P(GoldenNetwork, ArchitectureIsReadOffTheStateDict) {
  EXPECT_EQ(architecture_from_state(weights_.tensors), network_->architecture());
}

TEST_P(GoldenNetwork, StateDictMakesTheRoundTrip) {
  const TemporaryFolder folder;
  Safetensors content;
  content.tensors = network_->state();
  save_safetensors(folder / "state.safetensors", content);
  const Safetensors read = load_safetensors(folder / "state.safetensors");
  ASSERT_EQ(read.tensors.size(), weights_.tensors.size());
  for (const auto& [name, tensor] : weights_.tensors) {
    const Tensor& ours = read.at(name);
    ASSERT_EQ(ours.shape(), tensor.shape()) << name;
    ASSERT_EQ(ours.dtype(), tensor.dtype()) << name;
    if (is_counter(name)) {
      EXPECT_EQ(ours.values<int64_t>(), tensor.values<int64_t>()) << name;
    } else {
      EXPECT_EQ(ours.values(), tensor.values()) << name;
    }
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Device device : devices()) {
    for (const char* file : {"attention_unet", "attention_unet_odd", "unet", "unet_odd"})
      all.push_back({device, file});
    all.push_back({device, "attention_unet", false});
    if (device == Device::cpu) all.push_back({device, "attention_unet_deep"});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Networks, GoldenNetwork, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return name_of(test.param); });

class GoldenTraining : public DeviceTest {};

/// The biases whose gradient is zero because a norm follows: Adam moves them by rounding noise.
bool is_arbitrary_bias(const std::string& name) {
  return name.ends_with("conv.bias") && name != "model.2.conv.bias";
}

/// What the drift of the biases has added to each running mean: an exponential average like the mean itself.
class BiasDrift {
 public:
  explicit BiasDrift(const Network& network) : network_(network) {
    for (const auto& [name, tensor] : network.named_parameters()) {
      if (is_arbitrary_bias(name)) start_[name] = tensor.values();
    }
  }
  /// To be called before each forward in training mode.
  void observe() {
    for (const auto& [name, tensor] : network_.named_parameters()) {
      if (!start_.contains(name)) continue;
      std::vector<float>& drift = drift_[name];
      drift.resize(start_[name].size());
      const std::vector<float> now = tensor.values();
      for (size_t i = 0; i < now.size(); ++i) drift[i] = 0.9f * drift[i] + 0.1f * (now[i] - start_[name][i]);
    }
  }
  /// A running mean without the drift. Its convolution is its neighbour: "conv.bias" beside
  /// "adn.N.running_mean", or "0.conv.bias" beside "1.running_mean".
  [[nodiscard]] std::vector<float> corrected(const std::string& name, std::vector<float> mean) const {
    const bool adn = name.ends_with("adn.N.running_mean");
    const std::string tail = adn ? "adn.N.running_mean" : "1.running_mean";
    const std::vector<float>& drift =
        drift_.at(name.substr(0, name.size() - tail.size()) + (adn ? "conv.bias" : "0.conv.bias"));
    for (size_t i = 0; i < mean.size(); ++i) mean[i] -= drift[i];
    return mean;
  }

 private:
  const Network& network_;
  std::map<std::string, std::vector<float>> start_, drift_;
};

/// Sums of squares of actual - expected and of expected - origin.
struct Distance {
  double difference = 0, change = 0;

  void add(const std::vector<float>& actual, const std::vector<float>& expected,
           const std::vector<float>& origin) {
    for (size_t i = 0; i < expected.size(); ++i) {
      difference += std::pow(static_cast<double>(actual.at(i)) - expected[i], 2);
      change += std::pow(static_cast<double>(expected[i]) - origin.at(i), 2);
    }
  }
  /// Euclidean, as a share of what training has changed.
  [[nodiscard]] double relative() const { return std::sqrt(difference / change); }
};

/// Weights and running statistics after three steps. Adam turns rounding noise into steps where a gradient is
/// near zero (see make_golden.py), so that single elements may be off: the bound on one tensor is wide, that
/// on all narrow.
void expect_same_state(const Network& network, const BiasDrift& drift, const Safetensors& before,
                       const Safetensors& after) {
  Distance all_weights;
  for (const auto& [name, tensor] : network.state()) {
    if (is_arbitrary_bias(name)) continue;
    if (is_counter(name)) {
      EXPECT_EQ(tensor.values<int64_t>(), after.at(name).values<int64_t>()) << name;
      continue;
    }
    const std::vector<float> expected = after.at(name).values(), origin = before.at(name).values();
    Distance distance;
    if (name.ends_with("running_mean")) {
      distance.add(drift.corrected(name, tensor.values()), expected, origin);
    } else {
      distance.add(tensor.values(), expected, origin);
    }
    const bool statistic = name.find("running_") != std::string::npos;
    EXPECT_TRUE(distance.relative() <= (statistic ? 1e-2 : 0.2))
        << name << " is off by " << distance.relative();
    if (!statistic) all_weights.add(tensor.values(), expected, origin);
  }
  EXPECT_TRUE(all_weights.relative() <= 3e-2) << "the weights are off by " << all_weights.relative();
}

TEST_P(GoldenTraining, SeedsTrainingStepByStep) {
  const Safetensors golden = load_golden("training"), before = load_golden("training.weights");
  Rng rng(1);
  const auto network = network_from(before, golden_architecture(golden), device(), rng);
  const auto optimizer = make_adam({{.parameters = network->named_parameters(), .learning_rate = 2e-2}});
  const auto schedule = make_step_schedule(10, 0.9);
  const Tensor input = golden_activation(golden.at("input"), device());
  const Tensor labels = golden_labels(golden.at("labels"), device());
  const std::vector<float> losses = golden.at("losses").values(), rates = golden.at("rates").values();
  BiasDrift drift(*network);
  for (size_t step = 0; step < losses.size(); ++step) {
    optimizer->set_rate_factor(schedule->factor(static_cast<int64_t>(step)));
    EXPECT_NEAR(optimizer->learning_rate(), rates[step], 1e-9);
    drift.observe();
    const Tensor loss = dice_loss((*network)(input), labels, seed_loss);
    EXPECT_NEAR(loss.item(), losses[step], step < 2 ? 1e-5 : 1e-3) << "step " << step;
    optimizer->zero_grad();
    loss.backward();
    optimizer->step();
    if (step == 2) expect_same_state(*network, drift, before, load_golden("training.step3.weights"));
    // Without a GPU these kernels run in an interpreter, which is slow: there three steps must do.
    if (step == 2 && device() == Device::cuda) break;
  }
}

VG_ON_EVERY_DEVICE(GoldenTraining);

}  // namespace
}  // namespace vg::test
