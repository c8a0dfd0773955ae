#include "kernels/adam/adam.h"

#include <memory>

#ifdef VOXGRAD_WITH_CUDA
#include <cuda_runtime_api.h>

#include "kernels/common/cuda_check.h"
#endif

#include "kernels/common/store.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using AdamTest = DeviceTest;
VG_ON_EVERY_DEVICE(AdamTest);

// A parameter with its gradient and moments on a device.
struct State {
  State(DeviceKind device, const std::vector<float>& p, const std::vector<float>& g,
        const std::vector<float>& m, const std::vector<float>& v)
      : parameter(device, p), gradient(device, g), first_moment(device, m), second_moment(device, v) {}
  AdamTensor tensor() const {
    return {parameter.data(), gradient.data(), first_moment.data(), second_moment.data(), parameter.count()};
  }
  Buffer<float> parameter, gradient, first_moment, second_moment;
};

std::unique_ptr<State> random_state(DeviceKind device, int64_t count, uint32_t seed) {
  return std::make_unique<State>(device, uniform(count, seed), uniform(count, seed + 1),
                                 uniform(count, seed + 2), uniform(count, seed + 3, 0.01f, 1));
}

// The published formulas, in double.
struct Expected {
  std::vector<double> parameter, first_moment, second_moment;
};
Expected oracle(const State& s, double scale, const AdamParams& a) {
  const auto p = s.parameter.get(), g = s.gradient.get(), m = s.first_moment.get(), v = s.second_moment.get();
  Expected e;
  const double t = static_cast<double>(a.step);
  for (size_t i = 0; i < p.size(); ++i) {
    const double gradient = g[i] * scale + (a.decoupled_weight_decay ? 0 : a.weight_decay * p[i]);
    const double m1 = a.beta1 * m[i] + (1 - a.beta1) * gradient;
    const double v1 = a.beta2 * v[i] + (1 - a.beta2) * gradient * gradient;
    const double unbiased_m = m1 / (1 - std::pow(a.beta1, t)), unbiased_v = v1 / (1 - std::pow(a.beta2, t));
    const double decay = a.decoupled_weight_decay ? a.learning_rate * a.weight_decay * p[i] : 0;
    e.parameter.push_back(p[i] - decay - a.learning_rate * unbiased_m / (std::sqrt(unbiased_v) + a.eps));
    e.first_moment.push_back(m1);
    e.second_moment.push_back(v1);
  }
  return e;
}

void expect_close(const State& s, const Expected& e) {
  EXPECT_TRUE(all_close(s.parameter.get(), e.parameter, 2e-6));
  EXPECT_TRUE(all_close(s.first_moment.get(), e.first_moment, 2e-7));
  EXPECT_TRUE(all_close(s.second_moment.get(), e.second_moment, 2e-7));
}

// What torch 1.13.0 gives after three steps: p = tensor([1, -.5, .25, 2, -3]) and the gradients below with
// Adam(lr=2e-2), Adam(lr=2e-2, weight_decay=.1, betas=(.8, .95), eps=1e-6), AdamW(lr=2e-2, weight_decay=.1).
TEST_P(AdamTest, ThreeStepsMatchPyTorch) {
  const std::vector<float> start = {1, -0.5f, 0.25f, 2, -3}, zeros(5, 0.0f);
  const std::vector<std::vector<float>> gradients = {
      {0.1f, -0.2f, 0.3f, 0, 1e-4f}, {-0.05f, 0.4f, 0.3f, 1e-5f, -20}, {0.7f, 0.1f, -0.3f, 0, 5}};
  AdamParams adam, with_decay, adamw;
  adam.learning_rate = with_decay.learning_rate = adamw.learning_rate = 2e-2;
  with_decay.weight_decay = adamw.weight_decay = 0.1;
  with_decay.beta1 = 0.8, with_decay.beta2 = 0.95, with_decay.eps = 1e-6;
  adamw.decoupled_weight_decay = true;
  struct Golden {
    AdamParams params;
    std::vector<float> parameter, first_moment, second_moment;
  };
  const std::vector<float> moment = {0.0736000016f, 0.0297999997f, 0.0212999992f, 8.99999975e-07f,
                                     -1.29999197f},
                           square = {0.000502477516f, 0.000209760052f, 0.00026973011f, 9.99000009e-14f,
                                     0.424600035f};
  const std::vector<Golden> cases = {
      {adam, {0.961407781f, -0.495635092f, 0.204760164f, 1.97365379f, -2.99705505f}, moment, square},
      {with_decay,
       {0.94767189f, -0.491206974f, 0.205033675f, 1.94003272f, -2.95632005f},
       {0.192558497f, 0.0346098207f, 0.0374801196f, 0.0964817852f, -2.34535336f},
       {0.0336264893f, 0.00883810222f, 0.0136139914f, 0.00558819622f, 20.6806583f}},
      {adamw, {0.955510437f, -0.492706388f, 0.203383088f, 1.96170759f, -2.97904086f}, moment, square}};
  for (const Golden& golden : cases) {
    State state(device(), start, zeros, zeros, zeros);
    AdamParams params = golden.params;
    for (size_t step = 0; step < gradients.size(); ++step) {
      params.step = static_cast<int64_t>(step) + 1;
      state.gradient.set(gradients[step]);
      adam_step(std::vector<AdamTensor>{state.tensor()}, nullptr, params, exec());
    }
    EXPECT_TRUE(all_close(state.parameter.get(), golden.parameter, 0, 3e-7));
    EXPECT_TRUE(all_close(state.first_moment.get(), golden.first_moment, 1e-8, 3e-7));
    EXPECT_TRUE(all_close(state.second_moment.get(), golden.second_moment, 0, 3e-7));
  }
}

// Sizes around a chunk (4096), an empty tensor in between, late step, clipped gradients.
TEST_P(AdamTest, ManyTensorsMatchTheFormula) {
  const std::vector<int64_t> counts = {1, 4095, 0, 4096, 17, 9001, 0, 2, 3, 5, 7};
  Buffer<float> scale(device(), std::vector<float>{0.125f});
  for (const bool decoupled : {false, true}) {
    AdamParams params;
    params.weight_decay = 0.01, params.step = 37, params.decoupled_weight_decay = decoupled;
    for (const float* gradient_scale : std::initializer_list<const float*>{nullptr, scale.data()}) {
      std::vector<std::unique_ptr<State>> states;
      std::vector<AdamTensor> tensors;
      std::vector<Expected> expected;
      for (const int64_t count : counts) {
        states.push_back(random_state(device(), count, static_cast<uint32_t>(10 * states.size())));
        tensors.push_back(states.back()->tensor());
        expected.push_back(oracle(*states.back(), gradient_scale ? 0.125 : 1, params));
      }
      adam_step(tensors, gradient_scale, params, exec());
      for (size_t i = 0; i < counts.size(); ++i) expect_close(*states[i], expected[i]);
    }
  }
}

// More tensors than one CUDA launch takes, as slices of one state.
TEST_P(AdamTest, MoreTensorsThanOneTableHolds) {
  const int64_t count = 1100, size = 3;
  const auto state = random_state(device(), count * size, 5);
  AdamParams params;
  const Expected expected = oracle(*state, 1, params);
  std::vector<AdamTensor> tensors;
  for (int64_t i = 0; i < count; ++i) {
    const AdamTensor all = state->tensor();
    tensors.push_back({all.parameter + i * size, all.gradient + i * size, all.first_moment + i * size,
                       all.second_moment + i * size, size});
  }
  adam_step(tensors, nullptr, params, exec());
  expect_close(*state, expected);
  adam_step({}, nullptr, params, exec());  // nothing to do is no error
}

TEST(Adam, EveryInstructionSetAndThreadCount) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  expect_thread_independent([&] {
    const auto state = random_state(DeviceKind::cpu, 20001, 8);
    AdamParams params;
    params.weight_decay = 0.1, params.step = 3;
    const Expected expected = oracle(*state, 1, params);
    adam_step(std::vector<AdamTensor>{state->tensor()}, nullptr, params, exec);
    expect_close(*state, expected);
    return state->parameter.get();
  });
}

#ifdef VOXGRAD_WITH_CUDA
// A step over many tensors is a single kernel and nothing else: no copy, and no synchronisation, which a
// capture refuses. The graph keeps its own table of tensors.
TEST(Adam, OneLaunchThatCanBeCaptured_cuda) {
  Workspace workspace(DeviceKind::cuda);
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const auto a = random_state(DeviceKind::cuda, 5000, 1), b = random_state(DeviceKind::cuda, 3, 9);
  const AdamParams params;
  const Expected expected_a = oracle(*a, 1, params), expected_b = oracle(*b, 1, params);
  const Buffer<uint8_t> factors(DeviceKind::cuda, sizeof(AdamFactors));
  auto* const of_step = reinterpret_cast<AdamFactors*>(factors.data());
  store(of_step, adam_factors(params), Exec{DeviceKind::cuda, stream, &workspace});
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  {
    const std::vector<AdamTensor> tensors = {a->tensor(), b->tensor()};
    adam_step(tensors, nullptr, of_step, Exec{DeviceKind::cuda, stream, &workspace});
  }
  check_cuda(cudaStreamEndCapture(stream, &graph));
  size_t nodes = 0;
  check_cuda(cudaGraphGetNodes(graph, nullptr, &nodes));
  EXPECT_EQ(nodes, 1u);
  check_cuda(cudaGraphInstantiate(&executable, graph, 0));
  check_cuda(cudaGraphLaunch(executable, stream));
  check_cuda(cudaStreamSynchronize(stream));
  expect_close(*a, expected_a);
  expect_close(*b, expected_b);
  check_cuda(cudaGraphExecDestroy(executable));
  check_cuda(cudaGraphDestroy(graph));
  check_cuda(cudaStreamDestroy(stream));
}
#endif

TEST_P(AdamTest, BadArgumentsAreErrors) {
  const auto state = random_state(device(), 4, 1);
  const std::vector<AdamTensor> good = {state->tensor()};
  const auto throws = [&](auto&& change) {
    AdamParams params;
    std::vector<AdamTensor> tensors = good;
    change(params, tensors[0]);
    EXPECT_THROW(adam_step(tensors, nullptr, params, exec()), std::invalid_argument);
  };
  throws([](AdamParams& p, AdamTensor&) { p.step = 0; });
  throws([](AdamParams& p, AdamTensor&) { p.beta1 = 1; });
  throws([](AdamParams& p, AdamTensor&) { p.beta2 = -0.1; });
  throws([](AdamParams& p, AdamTensor&) { p.learning_rate = NAN; });
  throws([](AdamParams& p, AdamTensor&) { p.eps = -1; });
  throws([](AdamParams& p, AdamTensor&) { p.weight_decay = -1; });
  throws([](AdamParams&, AdamTensor& t) { t.second_moment = nullptr; });
  throws([](AdamParams&, AdamTensor& t) { t.count = -1; });
}

}  // namespace
}  // namespace vg::test
