// The sums that a norm needs of its result's gradient: whether those that make that gradient offer them,
// whether they are right, and whether a norm takes them.
#ifdef VOXGRAD_WITH_CUDA

#include <cmath>
#include <utility>

#include "layers/attention_gate.h"
#include "layers/conv3d.h"
#include "layers/norm3d.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using OfferedSumsTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, OfferedSumsTest, ::testing::Values(Device::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

struct Heard {
  std::vector<Tensor> gradients, sums;  // offered
  Tensor gradient;                      // that came
};

// In the place of a norm on the tape.
class ListeningNode : public NormNode {
 public:
  explicit ListeningNode(Heard& heard) : heard_(heard) {}
  const char* name() const override { return "listening"; }
  bool takes_sums() const override { return true; }
  void offer_sums(const Tensor& gradient, const Tensor& sums) override {
    heard_.gradients.push_back(gradient.detach());
    heard_.sums.push_back(sums);
  }
  void backward(const Tensor& gradient) override {
    heard_.gradient = gradient;
    pass(0, gradient);
  }

 private:
  Heard& heard_;
};

// Hands given gradients to its inputs, which are theirs alone then.
class SourceNode : public Node {
 public:
  explicit SourceNode(std::vector<Tensor> gradients) : gradients_(std::move(gradients)) {}
  const char* name() const override { return "source"; }
  void backward(const Tensor&) override {
    for (size_t i = 0; i < gradients_.size(); ++i) pass(i, std::exchange(gradients_[i], {}));
  }

 private:
  std::vector<Tensor> gradients_;
};

Tensor random_bfloat16(const Shape& shape, uint32_t seed, float low = -1, float high = 1) {
  return random_activation(shape, seed, Device::cuda, low, high).detach().to(DType::bfloat16);
}

// An unstored norm of 16 channels with a listening node on the tape.
struct Unstored {
  explicit Unstored(Heard& heard)
      : x(random_bfloat16({2, 4, 3, 6, 16}, 1, -2, 3)),
        norm{{random_parameter({16}, 2, Device::cuda), random_parameter({16}, 3, Device::cuda, 0.5f, 2)},
             random_parameter({16}, 4, Device::cuda, 0.5f, 1.5f),
             random_parameter({16}, 5, Device::cuda),
             {.params = {.kind = ActivationKind::relu}}} {
    Tensor leaf = x.detach();
    leaf.set_requires_grad(true);
    result = record<ListeningNode>(x.detach(), {leaf}, heard);
  }
  // Of dv = dy relu'(v) and of dv (x - mean), by channel, and the sums of their absolute values.
  void sum(const Tensor& dy, std::vector<double>& sums, std::vector<double>& sizes) const {
    const std::vector<float> gradient = dy.to(DType::float32).values(), in = x.to(DType::float32).values(),
                             mean = norm.statistics.mean.values(),
                             variance = norm.statistics.variance.values(), gamma = norm.weight.values(),
                             beta = norm.bias.values();
    sums.assign(32, 0), sizes.assign(32, 0);
    for (size_t i = 0; i < in.size(); ++i) {
      const size_t c = i % 16;
      const double centred = double{in[i]} - mean[c];
      if (centred / std::sqrt(double{variance[c]} + norm.eps) * gamma[c] + beta[c] <= 0) continue;
      sums[2 * c] += gradient[i], sums[2 * c + 1] += gradient[i] * centred;
      sizes[2 * c] += std::abs(gradient[i]), sizes[2 * c + 1] += std::abs(gradient[i] * centred);
    }
  }

  Tensor x, result;
  NormOperands norm;
};

// Sums are over values before they were rounded to bfloat16.
void expect_right(const Unstored& unstored, const Heard& heard) {
  ASSERT_EQ(heard.sums.size(), 1U);
  EXPECT_EQ(heard.gradients[0].data<bfloat16>(), heard.gradient.data<bfloat16>());
  std::vector<double> expected, sizes;
  unstored.sum(heard.gradient, expected, sizes);
  const std::vector<float> sums = heard.sums[0].values();
  ASSERT_EQ(sums.size(), expected.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    EXPECT_GT(sizes[i], 0);
    EXPECT_NEAR(sums[i], expected[i], sizes[i] / 256) << "channel " << i / 2 << ", sum " << i % 2;
  }
}

TEST_P(OfferedSumsTest, OfAConvolutionOfStride2) {
  std::vector<float> expected;
  for (const bool add : {false, true}) {
    SCOPED_TRACE(testing::Message() << "a gradient is there " << add);
    Heard heard;
    const Unstored unstored(heard);
    const Tensor weight = random_parameter({32, 16, 3, 3, 3}, 6, Device::cuda, -0.2f, 0.2f);
    ChannelStatistics of_y{};
    const Tensor y = conv3d_of_unstored(unstored.result, unstored.norm, weight, {},
                                        {.in_channels = 16, .out_channels = 32, .stride = 2}, of_y),
                 z = batch_norm(y, {}, {}, {}, {}, {}, {{}, of_y});
    std::vector<Tensor> inputs{z}, gradients{random_bfloat16(z.shape(), 7)};
    if (add) inputs.push_back(unstored.result), gradients.push_back(random_bfloat16(unstored.x.shape(), 8));
    const Tensor loss =
        record<SourceNode>(Tensor::zeros({1}, DType::float32, Device::cuda), inputs, std::move(gradients));
    loss.backward();
    expect_right(unstored, heard);
    const std::vector<float> gradient = heard.gradient.to(DType::float32).values();
    if (add) {
      EXPECT_TRUE(all_close(gradient, expected, 1.0 / 64, 0));
    }
    expected = random_bfloat16(unstored.x.shape(), 8).to(DType::float32).values();
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += gradient[i];
  }
}

TEST_P(OfferedSumsTest, OfAGate) {
  Heard heard;
  const Unstored unstored(heard);
  AttentionGate gate(16, 16, 8, Device::cuda);
  uint32_t seed = 10;
  for (const auto& [name, tensor] : gate.named_parameters())
    set_values(tensor, uniform(tensor.elements(), ++seed));
  const Tensor z = gate(unstored.result, random_bfloat16(unstored.x.shape(), 9), {}, unstored.norm);
  const Tensor loss = record<SourceNode>(Tensor::zeros({1}, DType::float32, Device::cuda), {z},
                                         std::vector<Tensor>{random_bfloat16(z.shape(), 7)});
  loss.backward();
  expect_right(unstored, heard);
}

// Offers the norm sums that are not those of the gradient, which show in the gradient of its bias.
class OfferingNode : public Node {
 public:
  OfferingNode(Tensor gradient, Tensor sums) : gradient_(std::move(gradient)), sums_(std::move(sums)) {}
  const char* name() const override { return "offering"; }
  void backward(const Tensor&) override {
    auto& norm = dynamic_cast<NormNode&>(*origin(0));
    ASSERT_TRUE(norm.takes_sums());
    norm.offer_sums(gradient_, sums_);
    pass(0, std::exchange(gradient_, {}));
  }

 private:
  Tensor gradient_, sums_;
};

TEST_P(OfferedSumsTest, ANormTakesThoseOfItsWholeGradientAlone) {
  for (const bool whole : {true, false}) {
    SCOPED_TRACE(testing::Message() << "the whole gradient " << whole);
    const Tensor x = random_bfloat16({1, 2, 3, 4, 8}, 1), gamma = random_parameter({8}, 2, Device::cuda),
                 beta = random_parameter({8}, 3, Device::cuda);
    const Tensor y = batch_norm(x, gamma, beta, {}, {});
    const Tensor gradient = random_bfloat16(y.shape(), 4);
    std::vector<float> expected(8, 0), values = gradient.to(DType::float32).values();
    const Tensor one = Tensor::zeros({1}, DType::float32, Device::cuda);
    const Tensor offered = record<OfferingNode>(
        one, {y}, gradient.clone(), Tensor::from_values({8, 2}, std::vector<float>(16, 5), Device::cuda));
    std::vector<Tensor> inputs{offered}, gradients{one};
    if (!whole) inputs.push_back(y), gradients.push_back(gradient.clone());
    record<SourceNode>(Tensor::zeros({1}, DType::float32, Device::cuda), inputs, std::move(gradients))
        .backward();
    for (size_t i = 0; i < values.size(); ++i) expected[i % 8] += 2 * values[i];
    if (whole) expected.assign(8, 5);
    EXPECT_TRUE(all_close(beta.grad().values(), expected, whole ? 0 : 0.2, 0));
  }
}

}  // namespace
}  // namespace vg::test

#endif
