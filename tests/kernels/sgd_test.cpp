#include "kernels/sgd/sgd.h"

#include <memory>

#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using SgdTest = DeviceTest;
VG_ON_EVERY_DEVICE(SgdTest);

// A parameter with its gradient and momentum buffer on a device.
struct State {
  State(DeviceKind device, int64_t count, uint32_t seed)
      : parameter(device, uniform(count, seed)),
        gradient(device, uniform(count, seed + 1)),
        buffer(device, uniform(count, seed + 2)) {}
  SgdTensor tensor(bool momentum) const {
    return {parameter.data(), gradient.data(), momentum ? buffer.data() : nullptr, parameter.count()};
  }
  Buffer<float> parameter, gradient, buffer;
};

// torch.optim.SGD's formula (dampening 0), in double.
struct Expected {
  std::vector<double> parameter, buffer;
};
Expected oracle(const State& s, double scale, const SgdParams& a) {
  const auto p = s.parameter.get(), g = s.gradient.get(), b = s.buffer.get();
  Expected e;
  for (size_t i = 0; i < p.size(); ++i) {
    const double gradient = g[i] * scale + a.weight_decay * p[i];
    double step = gradient, buffer = b[i];
    if (a.momentum != 0) {
      buffer = a.first_step ? gradient : a.momentum * b[i] + gradient;
      step = a.nesterov ? gradient + a.momentum * buffer : buffer;
    }
    e.parameter.push_back(p[i] - a.learning_rate * step);
    e.buffer.push_back(buffer);
  }
  return e;
}

void expect_close(const State& s, const Expected& e) {
  EXPECT_TRUE(all_close(s.parameter.get(), e.parameter, 4e-7));
  EXPECT_TRUE(all_close(s.buffer.get(), e.buffer, 4e-7));
}

// What torch 1.13.0 gives after three steps: p = tensor([1, -.5, .25, 2, -3]) and the gradients below with
// SGD(lr=.1), then also momentum=.9 and weight_decay=.01, then also nesterov=True.
TEST_P(SgdTest, ThreeStepsMatchPyTorch) {
  const std::vector<float> start = {1, -0.5f, 0.25f, 2, -3};
  const std::vector<std::vector<float>> gradients = {
      {0.1f, -0.2f, 0.3f, 0, 1e-4f}, {-0.05f, 0.4f, 0.3f, 1e-5f, -20}, {0.7f, 0.1f, -0.3f, 0, 5}};
  SgdParams plain, momentum, nesterov;
  plain.learning_rate = momentum.learning_rate = nesterov.learning_rate = 0.1;
  momentum.momentum = nesterov.momentum = 0.9;
  momentum.weight_decay = nesterov.weight_decay = 0.01;
  nesterov.nesterov = true;
  struct Golden {
    SgdParams params;
    std::vector<float> parameter, buffer;
  };
  const std::vector<Golden> cases = {
      {plain, {0.925000012f, -0.529999971f, 0.219999999f, 1.99999905f, -1.50001001f}, {}},
      {momentum,
       {0.906827807f, -0.529033363f, 0.140442669f, 1.98878777f, 0.314788818f},
       {0.762832105f, 0.284628808f, 0.218625814f, 0.0541330054f, -13.0611067f}},
      {nesterov,
       {0.838209748f, -0.554663897f, 0.120938264f, 1.98392701f, 1.48685133f},
       {0.762690187f, 0.284604847f, 0.217864275f, 0.054082647f, -13.0430307f}}};
  for (const Golden& golden : cases) {
    State state(device(), 5, 1);
    state.parameter.set(start);
    state.buffer.set(std::vector<float>(5, NAN));  // the first step must not read it
    SgdParams params = golden.params;
    for (size_t step = 0; step < gradients.size(); ++step) {
      params.first_step = step == 0;
      state.gradient.set(gradients[step]);
      sgd_step(std::vector<SgdTensor>{state.tensor(params.momentum != 0)}, nullptr, params, exec());
    }
    EXPECT_TRUE(all_close(state.parameter.get(), golden.parameter, 1e-7, 3e-7));
    if (params.momentum != 0) {
      EXPECT_TRUE(all_close(state.buffer.get(), golden.buffer, 1e-7, 3e-7));
    }
  }
}

// Sizes around a chunk (4096), an empty tensor in between, with and without momentum and clipping.
TEST_P(SgdTest, ManyTensorsMatchTheFormula) {
  const std::vector<int64_t> counts = {1, 4095, 0, 4096, 17, 9001, 0};
  Buffer<float> scale(device(), std::vector<float>{0.125f});
  SgdParams variants[4];
  for (SgdParams& params : variants) params.learning_rate = 0.1, params.weight_decay = 0.01;
  variants[1].momentum = variants[2].momentum = variants[3].momentum = 0.9;
  variants[2].nesterov = variants[3].first_step = true;
  for (const SgdParams& params : variants) {
    const float* gradient_scale = params.nesterov ? scale.data() : nullptr;
    std::vector<std::unique_ptr<State>> states;
    std::vector<SgdTensor> tensors;
    std::vector<Expected> expected;
    for (const int64_t count : counts) {
      states.push_back(std::make_unique<State>(device(), count, static_cast<uint32_t>(10 * states.size())));
      tensors.push_back(states.back()->tensor(params.momentum != 0));
      expected.push_back(oracle(*states.back(), gradient_scale ? 0.125 : 1, params));
    }
    sgd_step(tensors, gradient_scale, params, exec());
    for (size_t i = 0; i < counts.size(); ++i) expect_close(*states[i], expected[i]);
  }
}

// More tensors than one CUDA launch takes, as slices of one state.
TEST_P(SgdTest, MoreTensorsThanOneTableHolds) {
  const int64_t count = 1100, size = 3;
  State state(device(), count * size, 5);
  SgdParams params;
  params.momentum = 0.9;
  const Expected expected = oracle(state, 1, params);
  std::vector<SgdTensor> tensors;
  for (int64_t i = 0; i < count; ++i) {
    const SgdTensor all = state.tensor(true);
    tensors.push_back(
        {all.parameter + i * size, all.gradient + i * size, all.momentum_buffer + i * size, size});
  }
  sgd_step(tensors, nullptr, params, exec());
  expect_close(state, expected);
  sgd_step({}, nullptr, params, exec());  // nothing to do is no error
}

TEST(Sgd, EveryInstructionSetAndThreadCount) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  expect_thread_independent([&] {
    State state(DeviceKind::cpu, 20001, 8);
    SgdParams params;
    params.momentum = 0.9, params.nesterov = true;
    const Expected expected = oracle(state, 1, params);
    sgd_step(std::vector<SgdTensor>{state.tensor(true)}, nullptr, params, exec);
    expect_close(state, expected);
    return state.parameter.get();
  });
}

TEST_P(SgdTest, BadArgumentsAreErrors) {
  State state(device(), 4, 1);
  const auto throws = [&](auto&& change) {
    SgdParams params;
    params.momentum = 0.9;
    SgdTensor tensor = state.tensor(true);
    change(params, tensor);
    EXPECT_THROW(sgd_step(std::vector<SgdTensor>{tensor}, nullptr, params, exec()), std::invalid_argument);
  };
  throws([](SgdParams& p, SgdTensor&) { p.learning_rate = NAN; });
  throws([](SgdParams& p, SgdTensor&) { p.momentum = -1; });
  throws([](SgdParams& p, SgdTensor&) { p.weight_decay = -1; });
  throws([](SgdParams& p, SgdTensor&) { p.momentum = 0, p.nesterov = true; });
  throws([](SgdParams&, SgdTensor& t) { t.momentum_buffer = nullptr; });
  throws([](SgdParams&, SgdTensor& t) { t.count = -1; });
}

}  // namespace
}  // namespace vg::test
