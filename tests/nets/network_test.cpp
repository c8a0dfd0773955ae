// Names, sizes, initial values, dropout and errors of the networks.
#include "nets/network.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "nets/attention_unet.h"
#include "nets/initialisers.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/error_message.h"
#include "tests/support/golden.h"
#include "tests/support/random_data.h"

namespace vg::test {
namespace {

const Architecture small{.channels = {4, 6}, .strides = {2}};
const Architecture small_unet{.name = "unet", .channels = {4, 6}, .strides = {2}};

nlohmann::json listing(const std::string& name) {
  std::ifstream file(std::string(VG_GOLDEN_DIR) + "/state_dicts.json");
  return nlohmann::json::parse(file).at(name);
}

class StateDict : public ::testing::TestWithParam<const char*> {};

TEST_P(StateDict, NamesOrderAndShapesAreMonais) {
  const nlohmann::json expected = listing(GetParam());
  Rng rng(1);
  const auto network = make_network({.name = GetParam()}, Device::cpu, rng);
  nlohmann::json state = nlohmann::json::array(), parameters = nlohmann::json::array();
  for (const auto& [name, tensor] : network->state()) state.push_back({name, tensor.shape()});
  for (const auto& [name, tensor] : network->named_parameters()) parameters.push_back(name);
  EXPECT_EQ(state, expected.at("state_dict"));
  EXPECT_EQ(parameters, expected.at("parameters"));
  EXPECT_EQ(network->parameter_count(), expected.at("parameter_count").get<int64_t>());
}

INSTANTIATE_TEST_SUITE_P(Networks, StateDict, ::testing::Values("attention_unet", "unet"),
                         [](const auto& test) { return test.param; });

TEST(AttentionUnet, SizeOfTheSeedsNetwork) {
  Rng rng(1);
  const auto network = make_network({}, Device::cpu, rng);
  EXPECT_EQ(network->state().size(), 196u);
  EXPECT_EQ(network->parameter_count(), 5'910'460);
  EXPECT_EQ(network->extent_multiple(), 16);
}

TEST(Initialise, UniformWithinPyTorchsRangeAndConstantsElsewhere) {
  Rng rng(7);
  const auto network = make_network({}, Device::cpu, rng);
  for (const auto& [name, tensor] : network->state()) {
    if (tensor.dtype() == DType::int64) {
      EXPECT_EQ(tensor.values<int64_t>(), std::vector<int64_t>{0}) << name;
      continue;
    }
    const std::vector<float> values = tensor.values();
    if (tensor.shape().size() == 5) {
      const double range = 1 / std::sqrt(static_cast<double>(tensor.elements() / tensor.size(0)));
      double low = 0, high = 0, squares = 0;
      for (const float v : values)
        low = std::min<double>(low, v), high = std::max<double>(high, v), squares += v * v;
      EXPECT_GE(low, -range * 1.0001) << name;
      EXPECT_LE(high, range * 1.0001) << name;
      if (values.size() < 1000) continue;
      EXPECT_LT(low, -0.98 * range) << name;
      EXPECT_GT(high, 0.98 * range) << name;
      // The variance of U(-r, r) is r^2 / 3.
      EXPECT_NEAR(squares / static_cast<double>(values.size()), range * range / 3, 0.1 * range * range / 3)
          << name;
    } else if (name.ends_with("adn.A.weight")) {
      EXPECT_EQ(values, std::vector<float>{0.25f}) << name;
    } else if (name.ends_with("running_mean") || name.ends_with("N.bias")) {
      EXPECT_EQ(values, std::vector<float>(values.size(), 0)) << name;
    } else if (name.ends_with("running_var") || name.ends_with("N.weight")) {
      EXPECT_EQ(values, std::vector<float>(values.size(), 1)) << name;
    }
  }
  // A bias of a convolution has the range of its weight: 1 / sqrt(4 * 27).
  for (const auto& [name, tensor] : network->state()) {
    if (name != "model.0.conv.0.conv.bias") continue;
    const std::vector<float> values = tensor.values();
    const float range = 1 / std::sqrt(108.0f), highest = *std::max_element(values.begin(), values.end());
    EXPECT_LE(highest, range);
    EXPECT_GT(highest, 0.3f * range);
  }
}

class EveryDevice : public DeviceTest {
 protected:
  Tensor input(int64_t channels = 4, int64_t extent = 4) const {
    return Tensor::activation_from_ncdhw(uniform(2 * channels * extent * extent * extent, 3), 2, channels,
                                         extent, extent, extent, device());
  }
};

TEST_P(EveryDevice, SameSeedSameWeightsAsOnTheCpu) {
  Rng rng(5), cpu_rng(5);
  const auto network = make_network(small, device(), rng);
  const auto reference = make_network(small, Device::cpu, cpu_rng);
  const auto state = network->state(), expected = reference->state();
  for (size_t i = 0; i < state.size(); ++i) {
    if (state[i].second.dtype() == DType::float32) {
      EXPECT_EQ(state[i].second.values(), expected[i].second.values()) << state[i].first;
    }
  }
  Rng other(6);
  EXPECT_NE(make_network(small, device(), other)->state()[0].second.values(), state[0].second.values());
}

TEST_P(EveryDevice, FusedAndComposedGatesAgree) {
  Rng rng(2);
  AttentionUnet network(small, device(), rng);
  initialise(network, rng);
  network.train(false);
  const NoGradGuard no_grad;
  const Tensor fused = network(input());
  network.set_fused_gates(false);
  EXPECT_TRUE(all_close(network(input()).values(), fused.values(), 1e-5));
}

TEST_P(EveryDevice, DropoutInTrainingOnly) {
  for (Architecture architecture : {small, small_unet}) {
    Rng rng(3);
    const auto plain = make_network(architecture, device(), rng);
    architecture.dropout = 0.5;
    const auto network = make_network(architecture, device(), rng);
    network->load_state(plain->state());  // no tensor more or less
    const NoGradGuard no_grad;
    const std::vector<float> first = (*network)(input()).values();
    EXPECT_NE(first, (*plain)(input()).values());
    EXPECT_NE(first, (*network)(input()).values());  // another draw
    network->load_state(plain->state());
    network->train(false);
    plain->train(false);
    EXPECT_EQ((*network)(input()).values(), (*plain)(input()).values());
  }
}

VG_ON_EVERY_DEVICE(EveryDevice);

TEST(Network, FrozenUntilWeightsMayChange) {
  for (const Architecture& architecture : {small, small_unet}) {
    Rng rng(7);
    const auto network = make_network(architecture, Device::cpu, rng),
               other = make_network(architecture, Device::cpu, rng);
    const Tensor x = Tensor::activation_from_ncdhw(uniform(4 * 64, 3), 1, 4, 4, 4, 4, Device::cpu);
    EXPECT_THROW(network->freeze(), std::logic_error);  // in training mode
    network->train(false);
    other->train(false);
    network->freeze();
    {
      const NoGradGuard no_grad;
      const std::vector<float> frozen = (*network)(x).values();
      for (const auto& [name, tensor] : network->state()) {
        if (name.ends_with("conv.weight")) tensor.fill(0);
      }
      EXPECT_EQ((*network)(x).values(), frozen) << "changes past load_state() are not seen by convolutions";
      network->load_state(other->state());
      EXPECT_EQ((*network)(x).values(), (*other)(x).values());
      network->freeze();
      network->train(false);
      EXPECT_EQ((*network)(x).values(), (*other)(x).values()) << "the bits of the unfrozen network";
      network->freeze();
    }
    EXPECT_TRUE((*network)(x).requires_grad()) << "with recording a frozen network is an ordinary one";
  }
}

TEST(Network, RefusesInputsThatDoNotFit) {
  Rng rng(1);
  for (const Architecture& architecture : {small, small_unet}) {
    const auto network = make_network(architecture, Device::cpu, rng);
    const auto run = [&](int64_t c, int64_t d, int64_t h, int64_t w) {
      return message_of([&] { (*network)(Tensor::activation(1, d, h, w, c, Device::cpu)); });
    };
    EXPECT_EQ(run(3, 4, 4, 4), architecture.name + ": expected 4 channels, got shape [1, 4, 4, 4, 3]");
    const std::string multiples = architecture.name + ": D, H and W must be multiples of 2, got shape ";
    EXPECT_EQ(run(4, 5, 4, 4), multiples + "[1, 5, 4, 4, 4]");
    EXPECT_EQ(run(4, 4, 4, 7), multiples + "[1, 4, 4, 7, 4]");
    EXPECT_NE(message_of([&] {
                (*network)(Tensor::zeros({2, 2}));
              }).find("expected an activation"),
              std::string::npos);
  }
}

TEST(Network, LoadingNamesTheFirstTensorThatDiffersWithBothShapes) {
  Rng rng(1);
  const auto network = make_network(small, Device::cpu, rng);
  const auto other = make_network({.channels = {4, 8}, .strides = {2}}, Device::cpu, rng);
  const std::string message = message_of([&] { network->load_state(other->state()); });
  EXPECT_EQ(message,
            "tensor 'model.1.upconv.up.conv.weight' has shape [8, 4, 3, 3, 3], expected [6, 4, 3, 3, 3]");
}

}  // namespace
}  // namespace vg::test
