#include "layers/module.h"

#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using ModuleTest = DeviceTest;
VG_ON_EVERY_DEVICE(ModuleTest);

class Inner : public Module {
 public:
  explicit Inner(Device device)
      : buffer(register_buffer("buffer", Tensor::zeros({}, DType::int64))),
        weight(register_parameter("weight", Tensor::zeros({2}, DType::float32, device))) {}
  Tensor &buffer, &weight;
};

class Outer : public Module {
 public:
  explicit Outer(Device device)
      : first(register_module("first", std::make_unique<Inner>(device))),
        second(register_module("second.0", std::make_unique<Inner>(device))),
        own(register_parameter("own", Tensor::zeros({1}, DType::float32, device))) {}
  Inner &first, &second;
  Tensor& own;
};

std::vector<std::string> names_of(const std::vector<NamedTensor>& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

TEST_P(ModuleTest, NamesAndOrderArePyTorchs) {
  const Outer module(device());
  EXPECT_EQ(names_of(module.named_parameters()),
            (std::vector<std::string>{"own", "first.weight", "second.0.weight"}));
  EXPECT_EQ(names_of(module.state()), (std::vector<std::string>{"own", "first.weight", "first.buffer",
                                                                "second.0.weight", "second.0.buffer"}));
  for (const auto& [name, tensor] : module.named_parameters()) EXPECT_TRUE(tensor.requires_grad());
  EXPECT_FALSE(module.first.buffer.requires_grad());
}

TEST_P(ModuleTest, ModeReachesTheWholeTree) {
  Outer module(device());
  EXPECT_TRUE(module.second.training());
  module.train(false);
  EXPECT_FALSE(module.training());
  EXPECT_FALSE(module.second.training());
  module.train();
  EXPECT_TRUE(module.first.training());
}

TEST_P(ModuleTest, StateTravelsAndKeepsTheTensors) {
  Outer source(device()), target(device());
  source.second.weight.fill(3);
  *source.first.buffer.data<int64_t>() = 8;
  const float* const memory = target.second.weight.data<float>();
  target.load_state(source.state());
  EXPECT_EQ(target.second.weight.values(), std::vector<float>(2, 3));
  EXPECT_EQ(target.first.buffer.values<int64_t>()[0], 8);
  EXPECT_EQ(target.second.weight.data<float>(), memory);
  EXPECT_TRUE(target.second.weight.requires_grad());
}

TEST_P(ModuleTest, StateThatDoesNotFitIsNamedAndChangesNothing) {
  Outer module(device());
  const auto error_of = [&](std::vector<NamedTensor> state) -> std::string {
    state[0].second = Tensor::full({1}, 5, Device::cpu);
    try {
      module.load_state(state);
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(module.own.item(), 0);
      return error.what();
    }
    return "no error";
  };
  std::vector<NamedTensor> state = module.state();
  state.pop_back();
  EXPECT_NE(error_of(state).find("second.0.buffer"), std::string::npos);
  state = module.state();
  state.emplace_back("stranger", Tensor::zeros({1}));
  EXPECT_NE(error_of(state).find("stranger"), std::string::npos);
  state = module.state();
  state[1].second = Tensor::zeros({3});
  EXPECT_NE(error_of(state).find("[3], expected [2]"), std::string::npos) << error_of(state);
  state[1].second = Tensor::zeros({2}, DType::int64);
  EXPECT_NE(error_of(state).find("int64"), std::string::npos);
}

}  // namespace
}  // namespace vg::test
