#include "kernels/attention_gate/attention_gate_inference.h"

#include <cmath>

#include "support/buffer.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;

struct Case {
  int64_t n, d, h, w, gate, skip, intermediate;
  int64_t voxels() const { return n * d * h * w; }
};
// Rows of every length up to two vectors, and channels beside whole vectors.
const Case cases[] = {{1, 2, 3, 1, 16, 16, 8},   {2, 1, 3, 5, 3, 5, 2},     {1, 1, 2, 16, 8, 8, 4},
                      {1, 1, 2, 17, 33, 17, 9},  {1, 2, 1, 31, 32, 32, 16}, {1, 1, 1, 40, 64, 64, 32},
                      {1, 1, 2, 10, 16, 24, 33}, {1, 1, 1, 7, 1, 1, 1}};

struct Operands {
  std::vector<float> g, x, weight_g, weight_x, bias, weight_psi, bias_psi;
  explicit Operands(const Case& c)
      : g(uniform(c.voxels() * c.gate, 1)),
        x(uniform(c.voxels() * c.skip, 2)),
        weight_g(uniform(c.intermediate * c.gate, 3)),
        weight_x(uniform(c.intermediate * c.skip, 4)),
        bias(uniform(c.intermediate, 5)),
        weight_psi(uniform(c.intermediate, 6)),
        bias_psi(uniform(1, 7)) {}
  FoldedGateWeights weights() const {
    return {weight_g.data(), weight_x.data(), bias.data(), weight_psi.data(), bias_psi.data()};
  }
};

std::vector<double> oracle(const Case& c, const Operands& o) {
  const auto at = [](const std::vector<float>& v, int64_t i) {
    return static_cast<double>(v[static_cast<size_t>(i)]);
  };
  std::vector<double> y;
  for (int64_t v = 0; v < c.voxels(); ++v) {
    double score = at(o.bias_psi, 0);
    for (int64_t f = 0; f < c.intermediate; ++f) {
      double hidden = at(o.bias, f);
      for (int64_t i = 0; i < c.gate; ++i) hidden += at(o.weight_g, f * c.gate + i) * at(o.g, v * c.gate + i);
      for (int64_t i = 0; i < c.skip; ++i) hidden += at(o.weight_x, f * c.skip + i) * at(o.x, v * c.skip + i);
      score += at(o.weight_psi, f) * std::max(hidden, 0.0);
    }
    for (int64_t i = 0; i < c.skip; ++i) y.push_back(at(o.x, v * c.skip + i) / (1 + std::exp(-score)));
  }
  return y;
}

class AttentionGateInferenceTest : public ::testing::Test {
 protected:
  Exec exec() { return {DeviceKind::cpu, nullptr, &workspace_}; }
  static AttentionGateParams params(const Case& c) {
    return {.gate_channels = c.gate, .skip_channels = c.skip, .intermediate_channels = c.intermediate};
  }
  std::vector<float> run(const Case& c, const Operands& o, const Placement& placement) {
    const Activation<float> g(DeviceKind::cpu, c.n, c.d, c.h, c.w, c.gate, o.g, placement),
        x(DeviceKind::cpu, c.n, c.d, c.h, c.w, c.skip, o.x, placement),
        y(DeviceKind::cpu, c.n, c.d, c.h, c.w, c.skip, placement);
    attention_gate_inference(y, g, x, o.weights(), params(c), exec());
    return y.get();
  }

 private:
  CpuSettings restore_;
  Workspace workspace_{DeviceKind::cpu};
};

TEST_F(AttentionGateInferenceTest, MatchesTheOracle) {
  for (const Case& c : cases) {
    const Operands o(c);
    const std::vector<double> expected = oracle(c, o);
    for_each_instruction_set(DeviceKind::cpu, [&] {
      for (const Placement& placement : placements()) {
        EXPECT_TRUE(all_close(run(c, o, placement), expected,
                              float_tolerance((c.gate + c.skip + 1) * c.intermediate)))
            << "width " << c.w << ", channels " << c.gate << ' ' << c.skip << ' ' << c.intermediate;
      }
    });
  }
}

TEST_F(AttentionGateInferenceTest, SameBitsForAnyNumberOfThreads) {
  const Case c{1, 4, 9, 33, 16, 16, 8};
  const Operands o(c);
  expect_thread_independent([&] { return run(c, o, {1, 0, 0}); });
}

TEST_F(AttentionGateInferenceTest, RefusesWhatDoesNotFit) {
  const Case c{1, 1, 2, 3, 4, 5, 2};
  const Operands o(c);
  const Activation<float> g(DeviceKind::cpu, 1, 1, 2, 3, 4, o.g), x(DeviceKind::cpu, 1, 1, 2, 3, 5, o.x),
      y(DeviceKind::cpu, 1, 1, 2, 3, 5), narrow(DeviceKind::cpu, 1, 1, 2, 3, 4);
  expect_error<std::invalid_argument>(
      [&] { attention_gate_inference(narrow, g, x, o.weights(), params(c), exec()); },
      {"attention_gate_inference"});
  expect_error<std::invalid_argument>(
      [&] { attention_gate_inference(y, x, x, o.weights(), params(c), exec()); },
      {"g and x have 5 and 5 channels, expected 4 and 5"});
  FoldedGateWeights weights = o.weights();
  weights.bias = nullptr;
  expect_error<std::invalid_argument>([&] { attention_gate_inference(y, g, x, weights, params(c), exec()); },
                                      {"a weight is null"});
  Exec on_cuda = exec();
  on_cuda.device = DeviceKind::cuda;
  expect_error<std::invalid_argument>(
      [&] { attention_gate_inference(y, g, x, o.weights(), params(c), on_cuda); }, {"on the CPU only"});
}

}  // namespace
}  // namespace vg::test
