#include "engine/captured_graph.h"

#include <gtest/gtest.h>

#include "engine/optimizer.h"
#include "kernels/elementwise/elementwise.h"
#include "support/devices.h"
#include "support/random_data.h"

#ifdef VOXGRAD_WITH_CUDA

namespace vg::test {
namespace {

using CapturedGraphTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, CapturedGraphTest, ::testing::Values(Device::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

kernels::Exec exec() {
  return Context::get().exec(Device::cuda);
}
Tensor tensor(const std::vector<float>& values) {
  return Tensor::from_values({static_cast<int64_t>(values.size())}, values, Device::cuda);
}
// y += 2 x, by way of memory that the function allocates.
void work(const Tensor& y, const Tensor& x) {
  const Tensor doubled = Tensor::empty_like(x);
  kernels::scale(doubled.view(), x.view<const float>(), 2, exec());
  kernels::accumulate(y.view(), doubled.view<const float>(), 1, exec());
}

TEST_P(CapturedGraphTest, ReplaysComputeFromNewInput) {
  const Tensor x = tensor({1, 2, 3}), y = tensor({0, 0, 0});
  const CapturedGraph graph([&] { work(y, x); });
  EXPECT_EQ(y.values(), (std::vector<float>{0, 0, 0})) << "recording must not run anything";
  graph.replay();
  x.copy_from(tensor({10, 20, 30}));
  graph.replay();
  EXPECT_EQ(y.values(), (std::vector<float>{22, 44, 66}));
}

TEST_P(CapturedGraphTest, ItsMemoryIsNotHandedToOthers) {
  const Tensor x = tensor({1, 2, 3}), y = tensor({0, 0, 0});
  const CapturedGraph graph([&] { work(y, x); });
  std::vector<Tensor> others;
  for (int i = 0; i < 8; ++i) others.push_back(tensor({7, 7, 7}));
  graph.replay();
  for (const Tensor& other : others) EXPECT_EQ(other.values(), (std::vector<float>{7, 7, 7}));
}

TEST_P(CapturedGraphTest, TensorsMadeInItOutliveIt) {
  Tensor kept;
  const Tensor x = tensor({1, 2, 3});
  {
    const CapturedGraph graph([&] {
      kept = Tensor::empty_like(x);
      kernels::scale(kept.view(), x.view<const float>(), 3, exec());
    });
    graph.replay();
  }
  EXPECT_EQ(kept.values(), (std::vector<float>{3, 6, 9}));
}

TEST_P(CapturedGraphTest, HostWorkIsDoneByReplaysAlone) {
  int count = 0;
  const Tensor x = tensor({1}), y = tensor({0});
  const CapturedGraph graph([&] {
    work(y, x);
    Context::get().host_work([&] { ++count; });
  });
  EXPECT_EQ(count, 0);
  for (int i = 1; i <= 3; ++i) {
    graph.replay();
    EXPECT_EQ(count, i);
  }
  Context::get().host_work([&] { ++count; });
  EXPECT_EQ(count, 4) << "outside of a recording it is done at once";
}

TEST_P(CapturedGraphTest, AnExceptionLeavesTheContextAsItWas) {
  const Tensor x = tensor({1}), y = tensor({0});
  const MemoryPool* const pool = &Context::get().pool(Device::cuda);
  EXPECT_THROW(CapturedGraph([&] {
                 work(y, x);
                 throw std::runtime_error("stop");
               }),
               std::runtime_error);
  EXPECT_EQ(&Context::get().pool(Device::cuda), pool);
  work(y, x);
  EXPECT_EQ(y.values(), (std::vector<float>{2}));
}

TEST_P(CapturedGraphTest, OptimizersStepsAreThoseOfUncapturedOnes) {
  const std::vector<float> initial = uniform(100, 1), gradient = uniform(100, 2);
  const auto run = [&](bool captured, bool adam) {
    Tensor parameter = tensor(initial);
    parameter.set_requires_grad(true);
    parameter.set_grad(tensor(gradient));
    const std::vector<ParameterGroup> groups{{{{"p", parameter}}, 1e-2, 0.1}};
    const auto optimizer = adam ? make_adam(groups) : make_sgd(groups, {.momentum = 0.9});
    const auto update = [&] {
      optimizer->clip_gradients(0.5);
      optimizer->apply_step();
    };
    optimizer->begin_step();
    update();
    std::unique_ptr<CapturedGraph> graph;
    if (captured) graph = std::make_unique<CapturedGraph>(update);
    for (int step = 2; step <= 5; ++step) {
      optimizer->set_rate_factor(1.0 / step);
      optimizer->begin_step();
      captured ? graph->replay() : update();
    }
    return parameter.values();
  };
  for (const bool adam : {true, false}) EXPECT_EQ(run(true, adam), run(false, adam)) << adam;
}

}  // namespace
}  // namespace vg::test

#endif
