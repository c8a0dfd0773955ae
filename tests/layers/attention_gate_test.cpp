#include "layers/attention_gate.h"

#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using AttentionGateLayerTest = DeviceTest;
VG_ON_EVERY_DEVICE(AttentionGateLayerTest);

const Shape gate_shape = {2, 2, 2, 2, 6}, skip_shape = {2, 2, 2, 2, 4};

/// Random weights and statistics; the same for each call.
std::unique_ptr<AttentionGate> make_gate(Device device) {
  auto gate = std::make_unique<AttentionGate>(6, 4, 3, device);
  uint32_t seed = 10;
  for (const auto& [name, tensor] : gate->state()) {
    if (tensor.dtype() == DType::float32)
      set_values(tensor, uniform(tensor.elements(), ++seed, name.ends_with("var") ? 0.5f : -1, 1));
  }
  return gate;
}

TEST_P(AttentionGateLayerTest, StateHasMonaisNames) {
  std::vector<std::string> expected, names;
  for (const char* branch : {"W_g", "W_x", "psi"}) {
    for (const char* tensor : {".0.conv.weight", ".0.conv.bias", ".1.weight", ".1.bias", ".1.running_mean",
                               ".1.running_var", ".1.num_batches_tracked"}) {
      expected.push_back(std::string(branch) + tensor);
    }
  }
  const auto gate = make_gate(device());
  for (const auto& [name, tensor] : gate->state()) names.push_back(name);
  EXPECT_EQ(names, expected);
  EXPECT_EQ(gate->named_parameters().size(), 12u);
  EXPECT_EQ(gate->state()[0].second.shape(), (Shape{3, 6, 1, 1, 1}));
  EXPECT_EQ(gate->state()[14].second.shape(), (Shape{1, 3, 1, 1, 1}));
}

// The fused op does what the ops do one by one: values, all gradients, running statistics, in both modes.
TEST_P(AttentionGateLayerTest, FusedIsComposed) {
  for (const bool training : {true, false}) {
    std::vector<std::vector<float>> results[2];
    for (const bool fuse : {false, true}) {
      const auto gate = make_gate(device());
      gate->set_fused(fuse);
      gate->train(training);
      const Tensor g = random_activation(gate_shape, 1, device());
      const Tensor x = random_activation(skip_shape, 2, device());
      const Tensor y = (*gate)(g, x);
      weighted_sum(y, uniform(y.elements(), 3)).backward();
      results[fuse] = {y.values(), g.grad().values(), x.grad().values()};
      for (const auto& [name, tensor] : gate->named_parameters())
        results[fuse].push_back(tensor.grad().values());
      for (const auto& [name, tensor] : gate->state()) {
        if (tensor.dtype() == DType::float32) {
          results[fuse].push_back(tensor.values());
        } else {
          EXPECT_EQ(tensor.values<int64_t>()[0], training ? 1 : 0);
        }
      }
    }
    for (size_t i = 0; i < results[0].size(); ++i) {
      EXPECT_TRUE(all_close(results[1][i], results[0][i], 5e-5, 5e-5)) << "result " << i;
    }
  }
}

TEST_P(AttentionGateLayerTest, GradientsOfInputs) {
  const auto gate = make_gate(device());
  const GradientCheck options{.step = 2e-3f, .tolerance = 1e-2, .most_elements = 8};
  check_gradients([&](const auto& in) { return (*gate)(in[0], in[1]); },
                  {random_activation(gate_shape, 1, device()), random_activation(skip_shape, 2, device())},
                  options);
}

TEST_P(AttentionGateLayerTest, WhatIsFrozenGetsNoGradientAndChangesNoOther) {
  std::vector<float> gradients[2];
  for (const bool freeze : {false, true}) {
    auto branch = [&, seed = 10u](int64_t in, int64_t out) mutable {
      seed += 10;
      return AttentionGateBranch{
          random_parameter({out, in, 1, 1, 1}, seed, device()), random_parameter({out}, seed + 1, device()),
          random_parameter({out}, seed + 2, device()),          random_parameter({out}, seed + 3, device()),
          Tensor::zeros({out}, DType::float32, device()),       Tensor::full({out}, 1, device())};
    };
    AttentionGateBranch gate = branch(6, 3);
    const AttentionGateBranch skip = branch(4, 3), psi = branch(3, 1);
    Tensor g = random_activation(gate_shape, 1, device());
    const Tensor x = random_activation(skip_shape, 2, device());
    if (freeze) {
      g.set_requires_grad(false);
      gate.weight.set_requires_grad(false);
      gate.beta.set_requires_grad(false);
    }
    const Tensor y = attention_gate(g, x, gate, skip, psi);
    weighted_sum(y, uniform(y.elements(), 3)).backward();
    for (const Tensor& t : {g, gate.weight, gate.beta}) EXPECT_EQ(t.grad().defined(), !freeze);
    for (const Tensor& t : {x, gate.gamma, skip.weight, psi.beta}) {
      const std::vector<float> values = t.grad().values();
      gradients[freeze].insert(gradients[freeze].end(), values.begin(), values.end());
    }
  }
  EXPECT_EQ(gradients[0], gradients[1]);
}

TEST_P(AttentionGateLayerTest, StoresOnlyTheCoefficients) {
  const auto gate = make_gate(device());
  const Tensor g = random_activation({1, 8, 8, 8, 6}, 1, device());
  const Tensor x = random_activation({1, 8, 8, 8, 4}, 2, device());
  const Allocator& allocator = Context::get().allocator(device());
  size_t grown[2];
  for (const bool fuse : {false, true}) {
    gate->set_fused(fuse);
    const size_t before = allocator.statistics().bytes_in_use;
    const Tensor y = (*gate)(g, x);
    grown[fuse] = allocator.statistics().bytes_in_use - before;
  }
  // Output (4 channels) and coefficients (1) against 4 + 3 * 1 + 3 * 3, and small statistics.
  EXPECT_LT(2 * grown[1], grown[0]);
}

TEST_P(AttentionGateLayerTest, WrongArgumentsAreErrors) {
  const auto gate = make_gate(device());
  const Tensor g = random_activation(gate_shape, 1, device()), x = random_activation(skip_shape, 2, device());
  EXPECT_THROW((*gate)(x, g), std::invalid_argument);
  EXPECT_THROW((*gate)(g, random_activation({2, 2, 2, 1, 4}, 2, device())), std::invalid_argument);
  EXPECT_THROW((*gate)(random_activation({1, 1, 1, 1, 6}, 1, device()),
                       random_activation({1, 1, 1, 1, 4}, 1, device())),
               std::invalid_argument);
  EXPECT_THROW(attention_gate(g, x, {}, {}, {}), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
