#include "engine/optimizer.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/safetensors.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using Json = nlohmann::json;
using OptimizerTest = DeviceTest;
VG_ON_EVERY_DEVICE(OptimizerTest);

std::unique_ptr<Optimizer> optimizer_of(const Json& c, const std::vector<NamedTensor>& parameters) {
  ParameterGroup group{parameters, c.at("lr"), c.value("weight_decay", 0.0)};
  if (c.at("kind") == "sgd") return make_sgd({group}, {c.value("momentum", 0.0), c.value("nesterov", false)});
  AdamOptions options;
  if (c.contains("betas")) {
    options.beta1 = c.at("betas").at(0);
    options.beta2 = c.at("betas").at(1);
  }
  options.eps = c.value("eps", 1e-8);
  options.decoupled_weight_decay = c.at("kind") == "adamw";
  return make_adam({group}, options);
}

TEST_P(OptimizerTest, EqualsPyTorchStepByStep) {
  const Safetensors golden = load_safetensors(VG_GOLDEN_DIR "/optimizers.safetensors");
  std::ifstream file(VG_GOLDEN_DIR "/optimizers.json");
  const std::vector<float> gradients = golden.at("gradients").values();
  const int64_t count = golden.at("initial").elements();
  for (const Json& c : Json::parse(file)) {
    Tensor parameter = Tensor::from_values({count}, golden.at("initial").values(), device());
    parameter.set_requires_grad(true);
    const auto optimizer = optimizer_of(c, {{"p", parameter}});
    const std::vector<float> expected = golden.at(c.at("case").get<std::string>() + "/parameters").values();
    for (int64_t step = 0; step * count < static_cast<int64_t>(expected.size()); ++step) {
      const std::vector<float> gradient(gradients.begin() + step * count,
                                        gradients.begin() + (step + 1) * count);
      parameter.set_grad(Tensor::from_values({count}, gradient, device()));
      optimizer->step();
      const std::vector<float> wanted(expected.begin() + step * count, expected.begin() + (step + 1) * count);
      EXPECT_TRUE(all_close(parameter.values(), wanted, 2e-6, 2e-6)) << c.at("case") << " step " << step;
    }
  }
}

TEST_P(OptimizerTest, ResumesFromItsStateBitForBit) {
  const auto run = [&](bool interrupt) {
    Tensor a = Tensor::from_values({5}, uniform(5, 1), device()),
           b = Tensor::from_values({3}, uniform(3, 2), device());
    a.set_requires_grad(true);
    b.set_requires_grad(true);
    auto optimizer = make_adam({{{{"a", a}}, 1e-2, 0}, {{{"b", b}}, 1e-3, 0.1}});
    for (uint32_t step = 0; step < 6; ++step) {
      if (interrupt && step == 3) {
        auto fresh = make_adam({{{{"a", a}}, 1e-2, 0}, {{{"b", b}}, 1e-3, 0.1}});
        fresh->load_state(optimizer->state());
        optimizer = std::move(fresh);
      }
      a.set_grad(Tensor::from_values({5}, uniform(5, 10 + step), device()));
      b.set_grad(Tensor::from_values({3}, uniform(3, 20 + step), device()));
      optimizer->set_rate_factor(1.0 / (1 + step));
      optimizer->step();
    }
    auto values = a.values();
    for (float v : b.values()) values.push_back(v);
    return values;
  };
  EXPECT_EQ(run(true), run(false));
}

TEST_P(OptimizerTest, ClippingScalesTheNextStepOnly) {
  Tensor p = Tensor::from_values<float>({2}, {0, 0}, device());
  p.set_requires_grad(true);
  const auto optimizer = make_sgd({{{{"p", p}}, 1.0, 0}});
  p.set_grad(Tensor::from_values<float>({2}, {3, 4}, device()));
  EXPECT_FLOAT_EQ(optimizer->clip_gradients(1).item(), 5);
  optimizer->step();
  EXPECT_TRUE(all_close(p.values(), std::vector<float>{-0.6f, -0.8f}, 1e-6));
  optimizer->step();
  EXPECT_TRUE(all_close(p.values(), std::vector<float>{-3.6f, -4.8f}, 1e-6));
  EXPECT_FLOAT_EQ(optimizer->clip_gradients(100).item(), 5);  // below the limit: unchanged
  optimizer->step();
  EXPECT_TRUE(all_close(p.values(), std::vector<float>{-6.6f, -8.8f}, 1e-6));
  optimizer->zero_grad();
  EXPECT_EQ(p.grad().values(), (std::vector<float>{0, 0}));
}

TEST_P(OptimizerTest, WrongStateIsNamed) {
  Tensor p = Tensor::zeros({2}, DType::float32, device());
  p.set_requires_grad(true);
  const auto optimizer = make_adam({{{{"p", p}}, 1.0, 0}});
  EXPECT_THROW(optimizer->load_state({}), std::invalid_argument);
  auto state = optimizer->state();
  state.back().second = Tensor::zeros({3});
  EXPECT_THROW(optimizer->load_state(state), std::invalid_argument);
  EXPECT_THROW(make_adam({{{{"q", Tensor::zeros({2})}}, 1.0, 0}}), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
